"""Rollouts that left one another: what they share, what a shared state is worth, and how more of them are grown.

A *state* is where an episode stands before one of its turns. A trajectory whose `branch` is (i, t) shares with
trajectory i of its group every state up to the one before turn t; before turn 0 all stand at the bare question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from sdsearch.rollout import Fork, Play
from sdsearch.trajectory import Group

Place = tuple[int, int]
"""A trajectory's index in its group, and a turn of it: the state before that turn."""


def owner(group: Group, place: Place) -> Place:
    """Return the same state as a place of the trajectory that was in it first; before turn 0: the root of its tree."""
    index, turn = place
    while (branch := group.trajectories[index].branch) and turn <= branch[1]:
        index = branch[0]
    return index, turn


def drawn(group: Group, place: Place) -> list[int]:
    """Return the trajectories that were sampled from a state on: the first one there, and those that left it there."""
    every = enumerate(group.trajectories)
    if place[1] == 0:
        return [i for i, t in every if t.branch is None or t.branch[1] == 0]
    first = owner(group, place)
    left = [i for i, t in every if t.branch and t.branch[1] == place[1] and owner(group, (i, place[1])) == first]
    return [first[0], *left]


def outcomes(group: Group, place: Place) -> list[float]:
    """Return the mean reward that followed each action sampled in a state, those left out that ended in outages."""
    found = [worth(group, (i, place[1] + 1)) for i in drawn(group, place)]
    return [value for value in found if not math.isnan(value)]


def worth(group: Group, place: Place) -> float:
    """Return the mean reward that follows a state; NaN where outages ended all that followed.

    Every action sampled in a state counts the same, however many rollouts were grown from it later: a mean over the
    leaves would favour the ways on which there were forks. After its last turn an episode is worth its reward.
    """
    trajectory = group.trajectories[place[0]]
    if place[1] >= len(trajectory.actions):
        return math.nan if trajectory.lost else trajectory.reward
    found = outcomes(group, place)
    return fmean(found) if found else math.nan


def grow(play: Play, groups: Sequence[Group], places: Sequence[Sequence[Place]]) -> list[Group]:
    """Play one more episode from each of the places in each group, all at once, and return the larger groups."""
    forks = [Fork(g.trajectories[i], turn) for g, own in zip(groups, places, strict=True) for i, turn in own]
    grown = iter(play.continue_from(forks, 1) if forks else [])
    return [
        Group(g.question, (*g.trajectories, *(replace(next(grown).trajectories[0], branch=place) for place in own)))
        for g, own in zip(groups, places, strict=True)
    ]


def fill(play: Play, groups: Sequence[Group], size: int) -> list[Group]:
    """Play fresh episodes, all at once, where a group has fewer than `size`, and return the groups."""
    missing = [max(0, size - len(g.trajectories)) for g in groups]
    asked = [g.question for g, n in zip(groups, missing, strict=True) for _ in range(n)]
    fresh = iter(play.collect(asked, 1) if asked else [])
    return [
        Group(g.question, (*g.trajectories, *(next(fresh).trajectories[0] for _ in range(n))))
        for g, n in zip(groups, missing, strict=True)
    ]

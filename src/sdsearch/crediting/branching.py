"""Rollouts that left one another: what they share, what a shared state is worth, and how more of them are grown.

A *state* is where an episode stands before one of its turns. A trajectory whose `branch` is (i, t) shares with
trajectory i of its group every state up to the one before turn t; before turn 0 all stand at the bare question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from sdsearch.contracts.rollouts import Collector
from sdsearch.core.trajectory import Fork, Group, Trajectory

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
    rewards = [worth(group, (i, place[1] + 1)) for i in drawn(group, place)]
    return [reward for reward in rewards if not math.isnan(reward)]


def worth(group: Group, place: Place) -> float:
    """Return the mean reward that follows a state; NaN where outages ended all that followed.

    Every action sampled in a state counts the same, however many rollouts were grown from it later: a mean over the
    leaves would favour the ways on which there were forks. After its last turn an episode is worth its reward.
    """
    trajectory = group.trajectories[place[0]]
    if place[1] >= len(trajectory.actions):
        return math.nan if trajectory.lost else trajectory.reward
    rewards = outcomes(group, place)
    return fmean(rewards) if rewards else math.nan


def grow(collector: Collector, groups: Sequence[Group], places: Sequence[Sequence[Place]]) -> list[Group]:
    """Play one more episode from each of the places in each group, all at once, and return the larger groups."""
    forks = [
        Fork(group.trajectories[i], turn) for group, spots in zip(groups, places, strict=True) for i, turn in spots
    ]
    grown = [g.trajectories[0] for g in (collector.continue_from(forks, 1) if forks else [])]
    branches = [
        replace(t, branch=place) for t, place in zip(grown, (p for spots in places for p in spots), strict=True)
    ]
    return _longer(groups, branches, [len(spots) for spots in places])


def fill(collector: Collector, groups: Sequence[Group], size: int) -> list[Group]:
    """Play fresh episodes, all at once, where a group has fewer than `size`, and return the groups."""
    missing = [max(0, size - len(g.trajectories)) for g in groups]
    questions = [group.question for group, count in zip(groups, missing, strict=True) for _ in range(count)]
    fresh = [g.trajectories[0] for g in (collector.collect(questions, 1) if questions else [])]
    return _longer(groups, fresh, missing)


def _longer(groups: Sequence[Group], trajectories: Sequence[Trajectory], counts: Sequence[int]) -> list[Group]:
    """Return groups with more trajectories, so many for each."""
    longer, start = [], 0
    for group, count in zip(groups, counts, strict=True):
        longer.append(Group(group.question, (*group.trajectories, *trajectories[start : start + count])))
        start += count
    return longer

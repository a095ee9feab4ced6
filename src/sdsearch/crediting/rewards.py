"""The same groups with other rewards: what a credit that changes them hands on to the one that it wraps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sdsearch.trajectory import Group


def rewarded(groups: Sequence[Group], rewards: Iterable[float]) -> list[Group]:
    """Return groups whose kept trajectories have `rewards`, group after group; lost ones keep theirs and their place.

    Raises `ValueError` unless there is exactly one reward for each.
    """
    given = list(rewards)
    if len(given) != (expected := sum(len(g.kept) for g in groups)):
        raise ValueError(f"got {len(given)} rewards, expected one for each of {expected} kept trajectories")
    left = iter(given)
    return [
        replace(g, trajectories=tuple(t if t.lost else replace(t, reward=next(left)) for t in g.trajectories))
        for g in groups
    ]

"""Between numbers per turn and numbers per sampled token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.trajectory import Group, Trajectory


def per_turn(trajectory: Trajectory, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread one number per turn over the tokens that were sampled in it: [turns] -> [sampled tokens]."""
    lengths = [len(s.logprobs) for s in trajectory.actions]
    if len(values) != len(lengths):
        raise ValueError(f"got {len(values)} numbers, expected one for each of {len(lengths)} turns")
    return np.repeat(np.asarray(values, np.float64), lengths)


def by_turn(trajectory: Trajectory, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut numbers per sampled token into one array per turn."""
    lengths = [len(s.logprobs) for s in trajectory.actions]
    return np.split(values, np.cumsum(lengths)[:-1]) if lengths else []


def discounted(rewards: Sequence[float] | NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Return at each place the sum of the rewards from there on, each discounted by its distance: [n] -> [n]."""
    total, found = 0.0, []
    for reward in reversed(list(rewards)):
        total = float(reward) + gamma * total
        found.append(total)
    return np.array(found[::-1])


def standardised(values: Sequence[float] | NDArray[np.float64], eps: float = 1e-6) -> NDArray[np.float64]:
    """Return (value - mean) / (unbiased deviation + eps); zeros where all are the same or there is only one."""
    found = np.asarray(values, np.float64)
    if len(found) < 2 or found.min() == found.max():
        return np.zeros(len(found))
    scaled: NDArray[np.float64] = (found - found.mean()) / (found.std(ddof=1) + eps)
    return scaled


def kept(groups: Sequence[Group]) -> list[Trajectory]:
    """Return the kept trajectories, group after group: the order of a step's credits."""
    return [t for g in groups for t in g.kept]

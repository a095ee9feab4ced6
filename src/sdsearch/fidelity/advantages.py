"""The true advantage of each turn: how much more reward is to be expected after it than before it.

V(state) is the mean reward of k continuations of the policy, A = V(after) - V(before), where after the last turn the
episode's own reward stands (Kazemnejad et al., 2410.01679, section 4). Two turns share the state between them, and the
attempts of a group the question. Continuation i of every state is compared with continuation i of the next: where both
were drawn with the same random numbers, the difference varies less than its parts.

The interval is Newcombe's for paired proportions (Statistics in Medicine 17, 1998, method 10, without the correction
of the correlation): two Wilson intervals, put together. Unlike mean +- 1.96 errors it does not shrink to a point when
all continuations end alike. For rewards between the bounds that are not only 0 and 1 it is a little too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.trajectory import Fork, Group
from sdsearch.crediting.branching import Place, owner

Numbers = NDArray[np.float64]
Continue = Callable[[Sequence[Fork], int], list[Group]]
"""Plays each fork to its end k times, as `sdsearch.rollout.collect.continue_from`."""

LEVEL = 0.95
"""Of every interval."""


class TrueAdvantages(NamedTuple):
    """Those of the turns of one trajectory, each array of shape [turns]; NaN where outages left nothing to go by."""

    value: Numbers
    error: Numbers
    """The standard error of `value`, from paired differences; NaN for a single pair."""
    low: Numbers
    high: Numbers
    halves: Numbers
    """`value` from the continuations with even numbers and from those with odd ones, [2, turns]."""

    @classmethod
    def exact(cls, value: Numbers) -> TrueAdvantages:
        """Return advantages that are known."""
        return cls(value, np.zeros(len(value)), value, value, np.array([value, value]))


def estimate(groups: Sequence[Group], continue_from: Continue, k: int) -> list[TrueAdvantages]:
    """Return the advantages of each kept trajectory, group after group; all states are played on from in one call.

    Rewards are taken to lie between 0 and 1, or as far beyond as they do.
    """
    ways = [(i, t, states(g, j)) for i, g in enumerate(groups) for j, t in enumerate(g.trajectories) if not t.lost]
    forks: dict[tuple[int, Place], Fork] = {}
    for i, t, way in ways:
        for turn, state in enumerate(way):
            forks.setdefault((i, state), Fork(t, turn))
    played = continue_from(list(forks.values()), k) if forks else []
    rewards = {
        state: np.array([np.nan if t.lost else t.reward for t in group.trajectories], np.float64)
        for state, group in zip(forks, played, strict=True)
    }
    every = np.concatenate([[0.0, 1.0], *rewards.values(), [t.reward for _, t, _ in ways]])
    bounds = float(np.nanmin(every)), float(np.nanmax(every))
    advantages = []
    for i, t, way in ways:
        values: list[Numbers | float] = [rewards[i, state] for state in way]
        steps = zip([*values[1:], t.reward], values, strict=False)
        pairs = [difference(after, before, bounds) for after, before in steps]
        value, error, low, high, even, odd = np.array(pairs, np.float64).reshape(-1, 6).T
        advantages.append(TrueAdvantages(value, error, low, high, np.array([even, odd])))
    return advantages


def states(group: Group, index: int) -> list[Place]:
    """Return what stands for the state before each turn of a trajectory: the same for those that share it."""
    turns = range(len(group.trajectories[index].actions))
    return [owner(group, (index, turn)) if turn else (0, 0) for turn in turns]


def difference(after: Numbers | float, before: Any, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[float, ...]:
    """Return the mean of after - before, its standard error, both ends of its interval, and the means of its halves.

    Rewards of continuations are of shape [k] and paired; pairs with a NaN are left out, without any all is NaN. A
    number for `after` is known and has no error.
    """
    gaps = after - before
    known = ~np.isnan(gaps)
    n = int(known.sum())
    if n == 0:
        return (np.nan,) * 6
    least, span = bounds[0], bounds[1] - bounds[0]
    old = (before[known] - least) / span
    (below, above), around, together = wilson(old.mean(), n), (0.0, 0.0), 0.0
    reach = (above - old.mean(), old.mean() - below)
    if isinstance(after, np.ndarray):
        new = (after[known] - least) / span
        below, above = wilson(new.mean(), n)
        around = (new.mean() - below, above - new.mean())
        together = float(np.corrcoef(new, old)[0, 1]) if min(np.ptp(new), np.ptp(old)) > 0 else 0.0
    value = float(np.mean(gaps[known]))
    pairs = zip(around, reach, strict=True)
    down, up = (span * max(0.0, a * a - 2 * together * a * b + b * b) ** 0.5 for a, b in pairs)
    error = float(gaps[known].std(ddof=1)) / n**0.5 if n > 1 else np.nan
    halves = [float(np.nanmean(half)) if (~np.isnan(half)).any() else np.nan for half in (gaps[::2], gaps[1::2])]
    return value, error, value - down, value + up, *halves


def wilson(mean: float, n: int) -> tuple[float, float]:
    """Return the interval of a mean of n numbers between 0 and 1 (Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre, width = mean + z * z / (2 * n), z * (mean * (1 - mean) / n + (z / (2 * n)) ** 2) ** 0.5
    return (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)

"""Numbers per trajectory, per turn and per sampled token: from one to the other, and made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sdsearch.contracts.credit import Probe
from sdsearch.core.trajectory import Group, Trajectory, kept

Array = NDArray[np.float64]
T = TypeVar("T")


def by_group(groups: Sequence[Group], parts: Iterable[T], noun: str = "parts") -> Iterator[tuple[Group, list[T]]]:
    """Yield each group with the parts of its kept trajectories; `parts` has one for each, group after group.

    Raises `ValueError`, which calls them `noun`, unless there is exactly one for each.
    """
    remaining = list(parts)
    if len(remaining) != (expected := len(kept(groups))):
        raise ValueError(f"got {len(remaining)} {noun}, expected one for each of {expected} kept trajectories")
    start = 0
    for group in groups:
        end = start + len(group.kept)
        yield group, remaining[start:end]
        start = end


def whole(trajectory: Trajectory, value: float) -> Array:
    """Spread one number over every sampled token of a trajectory."""
    return np.full(trajectory.sampled, value)


def per_turn(trajectory: Trajectory, values: Sequence[float] | Array) -> Array:
    """Spread one number per turn over the tokens that were sampled in it: [turns] -> [sampled tokens]."""
    lengths = [len(s.logprobs) for s in trajectory.actions]
    if len(values) != len(lengths):
        raise ValueError(f"got {len(values)} numbers, expected one for each of {len(lengths)} turns")
    return np.repeat(np.asarray(values, np.float64), lengths)


def by_turn(trajectory: Trajectory, values: Array) -> list[Array]:
    """Cut numbers per sampled token into one array per turn."""
    lengths = [len(s.logprobs) for s in trajectory.actions]
    return np.split(values, np.cumsum(lengths)[:-1]) if lengths else []


def by_trajectory(trajectories: Sequence[Trajectory], values: Sequence[float] | Array) -> list[Array]:
    """Cut numbers for each turn of several trajectories into one array per trajectory, [turns].

    Raises `ValueError` unless there is exactly one for each turn.
    """
    turns = [len(t.actions) for t in trajectories]
    if len(values) != sum(turns):
        raise ValueError(f"got {len(values)} numbers, expected one for each of {sum(turns)} turns")
    return np.split(np.asarray(values, np.float64), np.cumsum(turns)[:-1]) if turns else []


def discounted(rewards: Sequence[float] | Array, gamma: float) -> Array:
    """Return at each place the sum of the rewards from there on, each discounted by its distance: [n] -> [n]."""
    total, returns = 0.0, list[float]()
    for reward in reversed(list(rewards)):
        total = float(reward) + gamma * total
        returns.append(total)
    return np.array(returns[::-1])


def standardised(values: Sequence[float] | Array, eps: float = 1e-6) -> Array:
    """Return (value - mean) / (unbiased deviation + eps); zeros where all are the same or there is only one."""
    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2 or numbers.min() == numbers.max():
        return np.zeros(len(numbers))
    scaled: Array = (numbers - numbers.mean()) / (numbers.std(ddof=1) + eps)
    return scaled


def means(trajectory: Trajectory, values: Array, first: int | None = None) -> Array:
    """Return the mean of each turn's numbers, of its `first` ones only if given: [sampled] -> [turns].

    NaN for a turn without tokens, or with a NaN among them.
    """
    parts = [part[:first] for part in by_turn(trajectory, values)]
    return np.array([part.mean() if len(part) else np.nan for part in parts], np.float64)


def surprise(trajectory: Trajectory, first: int | None = None) -> Array:
    """Return the mean of -log p of the tokens sampled in each turn, in nats: [turns]; see `means`.

    An estimate of the policy's entropy that costs nothing: its mean over samples is the entropy.
    """
    return means(trajectory, -np.array([p for s in trajectory.actions for p in s.logprobs], np.float64), first)


def pooled(parts: Sequence[Array]) -> list[Array]:
    """Standardise the numbers of several arrays together, NaN left out, and return arrays of the same lengths."""
    every = np.concatenate([np.empty(0), *parts])
    known = ~np.isnan(every)
    every[known] = standardised(every[known])
    return np.split(every, np.cumsum([len(p) for p in parts])[:-1]) if parts else []


def scaled(parts: Sequence[Array], eps: float = 1e-6) -> list[Array]:
    """Divide the numbers of several arrays by their root mean square, zeros left out, plus `eps`.

    Unlike `pooled` it does not centre, which would turn signs round.
    """
    every = np.concatenate([np.empty(0), *parts])
    size = float(np.linalg.norm(every)) / max(1.0, float(np.count_nonzero(every))) ** 0.5 + eps
    return [part / size for part in parts]


def agreed(gaps: Array) -> Array:
    """Return for each turn the mean of those gaps whose sign most of them have: [readings, turns] -> [turns].

    0 where neither sign has a majority; NaN has no sign.
    """
    majority = np.sign(np.nansum(np.sign(gaps), 0))
    alike = (np.sign(gaps) == majority) & (majority != 0)
    total: Array = np.where(alike, gaps, 0.0).sum(0) / np.maximum(alike.sum(0), 1)
    return total


def whitened(parts: Sequence[Array], probe: Probe, eps: float = 1e-8) -> list[Array]:
    """Return (number - mean) / (unbiased deviation + eps), array for array, over the step in all processes.

    NaN stays NaN and counts for nothing; where all numbers are the same there is no signal: zeros. Every process has to
    call this, one without trajectories too.
    """
    every = np.concatenate([np.empty(0), *(v for values in probe.gather(list(parts)) for v in values)])
    known = every[~np.isnan(every)]
    if len(known) < 2 or known.min() == known.max():
        return [part * 0.0 for part in parts]  # rounding of the mean would otherwise be divided by eps
    mean, std = known.mean(), known.std(ddof=1)
    return [(part - mean) / (std + eps) for part in parts]

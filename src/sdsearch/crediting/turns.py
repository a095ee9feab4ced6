"""Numbers per turn: from numbers per token, and made comparable over all turns of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.crediting.returns import by_turn, standardised
from sdsearch.trajectory import Trajectory


def means(trajectory: Trajectory, values: NDArray[np.float64], first: int | None = None) -> NDArray[np.float64]:
    """Return the mean of each turn's numbers, of its `first` ones only if given: [sampled] -> [turns].

    NaN for a turn without tokens, or with a NaN among them.
    """
    parts = [part[:first] for part in by_turn(trajectory, values)]
    return np.array([part.mean() if len(part) else np.nan for part in parts], np.float64)


def surprise(trajectory: Trajectory, first: int | None = None) -> NDArray[np.float64]:
    """Return the mean of -log p of the tokens sampled in each turn, in nats: [turns]; see `means`.

    An estimate of the policy's entropy that costs nothing: its mean over samples is the entropy.
    """
    return means(trajectory, -np.array([p for s in trajectory.actions for p in s.logprobs], np.float64), first)


def pooled(parts: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Standardise the numbers of several arrays together, NaN left out, and return arrays of the same lengths."""
    every = np.concatenate([np.empty(0), *parts])
    known = ~np.isnan(every)
    every[known] = standardised(every[known])
    return np.split(every, np.cumsum([len(p) for p in parts])[:-1]) if parts else []


def scaled(parts: Sequence[NDArray[np.float64]], eps: float = 1e-6) -> list[NDArray[np.float64]]:
    """Divide the numbers of several arrays by their root mean square, zeros left out, plus `eps`.

    Unlike `pooled` it does not centre, which would turn signs round.
    """
    every = np.concatenate([np.empty(0), *parts])
    size = float(np.linalg.norm(every)) / max(1.0, float(np.count_nonzero(every))) ** 0.5 + eps
    return [part / size for part in parts]


def agreed(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each turn the mean of those gaps whose sign most of them have: [readings, turns] -> [turns].

    0 where neither sign has a majority; NaN has no sign.
    """
    majority = np.sign(np.nansum(np.sign(gaps), 0))
    alike = (np.sign(gaps) == majority) & (majority != 0)
    total: NDArray[np.float64] = np.where(alike, gaps, 0.0).sum(0) / np.maximum(alike.sum(0), 1)
    return total

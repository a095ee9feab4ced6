"""Percentile bootstrap over seeds (Efron & Tibshirani 1993, chapter 13).

With few seeds such an interval is too narrow: a resample of three seeds can only hold these three. It is still what the
field reports; the number of seeds stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95

Statistic = Callable[..., Any]


class Estimate(NamedTuple):
    """A statistic of some seeds and its interval; `low` and `high` are None with one seed, which tells no spread."""

    value: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float], statistic: Statistic = np.mean) -> Estimate:
    """Return a statistic of `values` with its interval; the same values give the same interval.

    `statistic` takes an array and `axis`. Infinite values (a target that was never reached) are possible with
    np.median. Raises `ValueError` without any value.
    """
    if not len(values):
        raise ValueError("got no values, expected at least one")
    sample = np.asarray(values, dtype=float)
    value = float(statistic(sample, axis=0))
    if len(sample) == 1:
        return Estimate(value, None, None)
    drawn = np.random.default_rng(0).integers(len(sample), size=(RESAMPLES, len(sample)))
    # An order statistic: between a number and infinity there is nothing to interpolate.
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(statistic(sample[drawn], axis=1), tails, method="inverted_cdf")
    return Estimate(value, float(low), float(high))

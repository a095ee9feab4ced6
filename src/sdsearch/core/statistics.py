"""Intervals: t intervals of means, ratios and anything smooth, Wilson's of shares; a bootstrap for medians alone.

With few seeds the bootstrap's (Efron & Tibshirani 1993, chapter 13) is too narrow: a resample of three seeds can only
hold these three. In simulations with normal seeds it covers 75 % with three of them and 85 to 87 % with five where it
says 95; a t interval 95 to 97 %. `p_value` and `holm` say what a difference is worth among many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from statistics import NormalDist
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

    def __str__(self) -> str:
        """Return it with two digits, and its interval if it has one; "-" where there is no number."""
        if isnan(self.value):
            return "-"
        ends = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{ends}"


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


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Return sum / sum over independent groups, such as the mean over all queries of all groups, with a t interval.

    What lies within a group may depend on each other as it likes: the interval is that of the linearised ratio (Cochran
    1977, section 6.4), from the spread between groups. Groups without a denominator do not count; NaN without any.
    """
    from scipy.stats import t

    pairs = [(n, d) for n, d in zip(numerators, denominators, strict=True) if d]
    if not pairs:
        return Estimate(float("nan"), None, None)
    top, bottom = np.array(pairs, dtype=float).T
    value = float(top.sum() / bottom.sum())
    if len(pairs) == 1:
        return Estimate(value, None, None)
    spread = float(np.sum((top - value * bottom) ** 2)) * len(pairs) / (len(pairs) - 1)
    half = float(t.ppf((1 + LEVEL) / 2, len(pairs) - 1)) * spread**0.5 / abs(float(bottom.sum()))
    return Estimate(value, value - half, value + half)


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values with a t interval; NaN without any."""
    return ratio(values, [1.0] * len(values))


def share(values: Sequence[float]) -> Estimate:
    """Return the share of ones among independent zeros and ones with Wilson's interval; NaN without any.

    A t interval has no width where all are alike, as 0 of 20; this one goes up to 0.16 there (Wilson 1927; Brown, Cai &
    DasGupta 2001 recommend it).
    """
    count = len(values)
    if not count:
        return Estimate(float("nan"), None, None)
    z, value = NormalDist().inv_cdf((1 + LEVEL) / 2), sum(values) / count
    middle = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (value * (1 - value) / count + z**2 / (4 * count**2)) ** 0.5
    # At 0 and at 1 an end is that number itself, but for rounding.
    return Estimate(value, 0.0 if value == 0 else middle - half, 1.0 if value == 1 else middle + half)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, each counted alike, with an interval made of theirs; NaN without any.

    "Variance estimates recovery" (Zou & Donner 2008): the squared distances of the limits from the values add up, so
    that intervals of any kind, also lopsided ones, can be put together. Those without a number are left out.
    """
    known = [e for e in estimates if not isnan(e.value)]
    if not known:
        return Estimate(float("nan"), None, None)
    value = sum(e.value for e in known) / len(known)
    below = [e.value - e.low for e in known if e.low is not None]
    above = [e.high - e.value for e in known if e.high is not None]
    if min(len(below), len(above)) < len(known):
        return Estimate(value, None, None)
    low, high = (sum(d**2 for d in side) ** 0.5 / len(known) for side in (below, above))
    return Estimate(value, value - low, value + high)


def jackknife(value: float, without: Sequence[float]) -> Estimate:
    """Return a statistic with a t interval, given what it is `without` each of the independent groups in turn.

    Tukey's (Efron & Tibshirani 1993, chapter 11): the spread of what is left, times (n - 1) / n, with n - 1 degrees of
    freedom; for anything smooth, such as a correlation or a cosine. No interval with fewer than two finite numbers.
    """
    from scipy.stats import t

    numbers = np.asarray(without, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) < 2 or isnan(value):
        return Estimate(value, None, None)
    error = float(np.sum((numbers - numbers.mean()) ** 2) * (len(numbers) - 1) / len(numbers)) ** 0.5
    half = float(t.ppf((1 + LEVEL) / 2, len(numbers) - 1)) * error
    return Estimate(value, value - half, value + half)


def p_value(values: Sequence[float]) -> float:
    """Return the two-sided p of a t test that the mean of independent values is 0; NaN with fewer than two.

    Where all are the same there is no spread to judge by: 0, or 1 where they are 0.
    """
    from scipy.stats import t

    sample = np.asarray(values, dtype=float)
    if len(sample) < 2:
        return float("nan")
    error = float(sample.std(ddof=1)) / len(sample) ** 0.5
    if error <= 1e-12 * abs(float(sample.mean())) or not sample.any():
        return float(not sample.any())
    return float(2 * t.sf(abs(float(sample.mean())) / error, len(sample) - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm 1979): the chance of any false one is at most the threshold.

    The smallest of n is multiplied by n, the next by n - 1, and so on, and none becomes smaller than one before it.
    NaN stays NaN and does not count.
    """
    order = sorted((p, i) for i, p in enumerate(values) if not isnan(p))
    adjusted, most = [float("nan")] * len(values), 0.0
    for rank, (p, i) in enumerate(order):
        most = max(most, min(1.0, p * (len(order) - rank)))
        adjusted[i] = most
    return adjusted

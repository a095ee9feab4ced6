"""How well a credit agrees with the true advantages of the same turns.

A credit need not have the advantages' size, for optimisers and scales take care of that; it has to rank turns rightly,
to have the right sign, and to spend itself on turns that mattered. What has no spread ranks nothing: its correlation is
0. Where the advantages have none there is nothing to rank, and such a trajectory is left out of `within`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.statistics import Estimate, jackknife, ratio
from sdsearch.fidelity.advantages import TrueAdvantages

Numbers = NDArray[np.float64]
EPS = 1e-9
"""Of advantages and, relative to the largest one, of credits: what is closer than this is the same."""


class Scores(NamedTuple):
    """The figures of one credit, each with an interval over questions; NaN where there was nothing to score."""

    within: Estimate
    """The mean over trajectories of Spearman's correlation over the turns of one: does it find the turns that made it?
    """
    queries: Estimate
    """The same over the turns of one that search, which are those that self-distillation credits."""
    pooled: Estimate
    """Spearman's correlation over all turns."""
    sign: Estimate
    """The share of the turns that certainly helped or hurt whose credit has that sign; a credit of 0 has none."""
    idle: Estimate
    """The share of all absolute credit that lies on turns which cannot be told from turns that did not matter."""
    credited: float
    """The share of turns that got a credit at all: only these are scored."""


class Turns(NamedTuple):
    """The judged turns of all trajectories, each array of shape [turns]."""

    value: Numbers
    certain: NDArray[np.bool_]
    """The interval of the advantage does not come near 0."""
    trajectory: NDArray[np.int64]
    question: NDArray[np.int64]
    known: NDArray[np.bool_]
    """Continuations have told the advantage."""
    search: NDArray[np.bool_]

    @classmethod
    def of(
        cls, truth: Sequence[TrueAdvantages], questions: Sequence[int], search: Sequence[Sequence[bool]] | None = None
    ) -> Turns:
        """Lay trajectories side by side; `questions` has a number for each, the same for those of one group.

        `search` says of each turn of each trajectory whether it searches; without it, all do.
        """
        value, low, high = (
            np.concatenate([np.empty(0), *(getattr(a, name) for a in truth)]) for name in ("value", "low", "high")
        )
        lengths = [len(a.value) for a in truth]
        certain = (low > EPS) | (high < -EPS)
        return cls(
            value,
            certain,
            np.repeat(np.arange(len(truth)), lengths),
            np.repeat(np.array(questions, np.int64), lengths),
            ~np.isnan(value),
            np.ones(len(value), np.bool_) if search is None else np.array([s for row in search for s in row], np.bool_),
        )

    @property
    def idle(self) -> float:
        """The share of turns that cannot be told from idle ones: what the same credit for all would spend on them."""
        return float(1 - self.certain[self.known].mean()) if self.known.any() else np.nan


def scores(credits: Sequence[Numbers], turns: Turns) -> Scores:
    """Score a credit; `credits` has an array for each trajectory, one number for each turn, NaN for none."""
    credit = np.concatenate([np.empty(0), *credits])
    if credit.shape != turns.value.shape:
        raise ValueError(f"got credits for {len(credit)} turns, expected {len(turns.value)}")
    mask = turns.known & ~np.isnan(credit)
    credit, value, certain = _clean(credit[mask]), _clean(turns.value[mask]), turns.certain[mask]
    question = turns.question[mask]
    owners, first, owner = np.unique(turns.trajectory[mask], return_index=True, return_inverse=True)
    agrees, size, search = np.sign(credit) == np.sign(value), np.abs(credit), turns.search[mask]

    def within(turn: NDArray[np.bool_]) -> Estimate:
        each = [turn & (owner == i) for i in range(len(owners))]
        inside = np.array([spearman(credit[rows], value[rows]) for rows in each])
        ranked = ~np.isnan(inside)
        return quotient(question[first][ranked], inside[ranked], np.ones(ranked.sum()), least=-1.0)

    return Scores(
        within(np.ones(len(owner), np.bool_)),
        within(search),
        correlation(question, credit, value),
        quotient(question[certain], agrees[certain], np.ones(certain.sum())),
        quotient(question, size * ~certain, size),
        float(mask.sum() / turns.known.sum()) if turns.known.any() else np.nan,
    )


def quotient(question: NDArray[np.int64], above: NDArray[Any], below: Numbers, least: float = 0.0) -> Estimate:
    """Return the ratio of two sums, with a t interval over questions: attempts at one share a baseline."""
    if not len(question):
        return Estimate(np.nan, None, None)
    return cut(ratio(*(np.bincount(question, values).tolist() for values in (above, below))), least)


def correlation(question: NDArray[np.int64], credit: Numbers, value: Numbers) -> Estimate:
    """Return Spearman's correlation over all turns; its interval is told by leaving out each question in turn."""
    whole = spearman(credit, value)
    if len(value) < 2 or np.ptp(credit) == 0 or np.ptp(value) == 0:
        return Estimate(whole, None, None)
    others = [question != one for one in np.unique(question)]
    return cut(jackknife(whole, [spearman(credit[rows], value[rows]) for rows in others]), -1.0)


def cut(estimate: Estimate, least: float) -> Estimate:
    """Cut the ends of an interval at `least` and 1: beyond there is no share, and no correlation."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return estimate._replace(low=max(least, estimate.low), high=min(1.0, estimate.high))


def by_within(figures: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return scores by name, the best correlation within trajectories first."""
    return dict(sorted(figures.items(), key=lambda item: -np.nan_to_num(item[1].within.value, nan=-2.0)))


def spearman(one: Numbers, two: Numbers) -> float:
    """Return the rank correlation of credits and advantages, ties at their mean rank; NaN without varied advantages."""
    if len(two) < 2 or np.ptp(two) == 0:
        return np.nan
    if np.ptp(one) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(two))[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: Numbers = np.cumsum(counts) - (counts - 1) / 2
    return middle[place]


def _clean(values: Numbers) -> Numbers:
    """Make the same what differs by rounding only: a mean over tokens must not rank trajectories by their lengths."""
    largest = np.abs(values).max(initial=0.0)
    return np.round(values / largest / EPS) * EPS * largest if largest > 0 else values

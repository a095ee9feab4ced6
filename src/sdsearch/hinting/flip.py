"""The flip test: does a teacher read the labels in its hint, or only the words round them?

The same queries are scored under a hint and under its twin with every label turned round. A teacher that reads labels
likes the queries of a right attempt better under the true ones, and those of a wrong attempt better under the false
ones. What is the same under both is style, and distilling it teaches style.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.answers import correct
from sdsearch.core.statistics import Estimate, ratio
from sdsearch.core.trajectory import Group, Span

Numbers = Sequence[NDArray[np.float64]]
"""For each kept trajectory a number for each sampled token; NaN: this one was not scored."""


class Queries:
    """The search queries of some groups, and which of them belong to attempts that were right."""

    def __init__(self, groups: Sequence[Group]) -> None:
        """Find the queries of all kept trajectories; `groups` that have attempts of one kind only are told apart."""
        self.groups = len(groups)
        self.tokens: list[tuple[int, NDArray[np.intp]]] = []
        """For each query the trajectory, as an index among the kept ones, and its sampled tokens."""
        self.turn: list[int] = []
        group, right, mixed, reward = [], [], [], []
        index = 0
        for number, each in enumerate(groups):
            outcomes = [correct(t) for t in each.kept]
            for trajectory, outcome in zip(each.kept, outcomes, strict=True):
                start = 0
                for turn, segment in enumerate(trajectory.actions):
                    inside = np.flatnonzero([span == Span.QUERY for span in segment.spans])
                    if len(inside):
                        self.tokens.append((index, start + inside))
                        self.turn.append(turn)
                        group.append(number)
                        right.append(outcome)
                        mixed.append(len(set(outcomes)) > 1)
                        reward.append(trajectory.reward)
                    start += len(segment.tokens)
                index += 1
        self.group = np.array(group, np.intp)
        self.right = np.array(right, bool)
        self.mixed = np.array(mixed, bool)
        """Whether a query's group has right attempts and wrong ones."""
        self.reward = np.array(reward, np.float64)
        self.length = np.array([len(at) for _, at in self.tokens], np.intp)

    def __len__(self) -> int:
        return len(self.tokens)

    def sums(self, numbers: Numbers) -> NDArray[np.float64]:
        """Return the sum over the tokens of each query, [queries]."""
        return np.array([numbers[index][at].sum() for index, at in self.tokens], np.float64)

    def mean(self, values: NDArray[np.float64], of: NDArray[np.bool_], by_token: bool = False) -> Estimate:
        """Return the mean of values [queries] over some queries, or over their tokens, with an interval by group.

        Queries whose value is NaN do not count.
        """
        chosen = of & ~np.isnan(values)
        count = self.length if by_token else np.ones(len(self))
        top, bottom = (np.bincount(self.group[chosen], each[chosen], minlength=self.groups) for each in (values, count))
        return ratio(top.tolist(), bottom.tolist())

    def label_effect(self, true: Numbers, turned: Numbers, by_token: bool = False) -> Estimate:
        """Return the mean effect over the queries of groups with both outcomes, in nats a query or a token.

        `true` and `turned` are log-probabilities under a hint and under its twin.
        """
        return self.mean(self.effect(true, turned), self.mixed, by_token)

    def effect(self, true: Numbers, turned: Numbers) -> NDArray[np.float64]:
        """Return how much more likely each query is under the true hint than under its twin: [queries], in nats.

        The sign is turned round for queries of wrong attempts, so that a teacher that reads its hint has positive ones.
        """
        return np.where(self.right, 1, -1) * (self.sums(true) - self.sums(turned))

"""What is found of one teacher: figures over the queries of groups that have right attempts and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sdsearch.contracts.credit import Numbers
from sdsearch.contracts.hint import Hint, Hints, hint_at
from sdsearch.core.answers import gives_away
from sdsearch.core.statistics import Estimate, mean
from sdsearch.core.trajectory import Group
from sdsearch.hinting.flip import Queries
from sdsearch.objectives.hints.placebo import Placebo

FIGURES = {
    "label_effect": "label effect",
    "label_effect_per_token": "the same per token",
    "label_effect_without_own": "own attempt left out",
    "wrong_effect": "against a wrong attempt's",
    "question_effect": "against another question's",
    "gap_right": "gap, right attempts",
    "gap_wrong": "gap, wrong attempts",
    "rank_correlation": "rank of the gap with reward",
    "advantage_correlation": "and with the true advantage",
    "self_copy": "self-copy",
    "moved": "tokens moved by a nat",
    "answer_in_hint": "answer in the hint",
}
"""The figures by name, and what a table calls them."""
NAT = 1.0

Score = Callable[[Hints | None], Numbers]
"""Scores the sampled tokens of the kept trajectories with hints beside their prompts."""


@dataclass(frozen=True, eq=False)
class Heard:
    """The log-probabilities of all sampled tokens under a hint and under what differs from it in one thing."""

    queries: Queries
    plain: Numbers
    """Without a hint."""
    under: Mapping[str, Numbers]
    """ "true", and where there is one "flipped", "others", "others/flipped", "wrong" (`Hint.twins`), "question"
    (another's)."""
    given_away: Sequence[bool]
    """For each query whether its hint holds an accepted answer."""

    @classmethod
    def of(cls, groups: Sequence[Group], hint: Hint, plain: Numbers, score: Score, seed: int) -> Heard:
        """Score `groups` under a hint and its twins; under other questions' hints where it has no labels to turn round.

        `plain` are their log-probabilities without a hint. Raises `ContextError` when a hint does not fit.
        """
        twins = hint.twins()
        hints = {"true": hint, **twins}
        if "others" in twins and "flipped" in (further := twins["others"].twins()):
            hints["others/flipped"] = further["flipped"]
        if "flipped" not in twins and len(groups) > 1:
            hints["question"] = Placebo(hint=hint)
        texts = {name: [text for part in each.placed(groups, seed) for text in part] for name, each in hints.items()}
        queries = Queries(groups)
        owners = [t for group in groups for t in group.kept]
        at = [(i, turn) for (i, _), turn in zip(queries.tokens, queries.turn, strict=True)]
        away = [gives_away(hint_at(texts["true"][i], turn), owners[i].question.answers) for i, turn in at]
        return cls(queries, plain, {name: score(each) for name, each in texts.items()}, away)

    @cached_property
    def gap(self) -> NDArray[np.float64]:
        """How much more likely each query is with the hint than without, in nats: [queries]."""
        return self.queries.sums(self.under["true"]) - self.queries.sums(self.plain)

    def figures(self, advantages: NDArray[np.float64] | None = None) -> dict[str, Estimate]:
        """Return the figures that there are, over the queries of mixed groups; `advantages` [queries] are true ones."""
        queries, under = self.queries, self.under
        mixed, sums = queries.mixed, {name: queries.sums(each) for name, each in self.under.items()}
        found: dict[str, Estimate] = {}

        def effect(true: str, turned: str, by_token: bool = False) -> Estimate:
            return queries.label_effect(under[true], under[turned], by_token)

        if "flipped" in under:
            found["label_effect"] = effect("true", "flipped")
            found["label_effect_per_token"] = effect("true", "flipped", by_token=True)
        if "others/flipped" in under:
            found["label_effect_without_own"] = effect("others", "others/flipped")
        if "wrong" in under:
            found["wrong_effect"] = effect("true", "wrong")
        if "question" in under:
            found["question_effect"] = effect("true", "question")
        found["gap_right"] = queries.mean(self.gap, mixed & queries.right)
        found["gap_wrong"] = queries.mean(self.gap, mixed & ~queries.right)
        found["rank_correlation"] = self.ranked(queries.reward)
        if advantages is not None:
            found["advantage_correlation"] = self.ranked_turns(advantages)
        if "others" in under:
            found["self_copy"] = queries.mean(sums["true"] - sums["others"], mixed)
        found["moved"] = queries.mean(self.moved, mixed, by_token=True)
        found["answer_in_hint"] = queries.mean(np.where(np.isnan(self.gap), np.nan, self.given_away), mixed)
        return found

    @property
    def moved(self) -> NDArray[np.float64]:
        """How many tokens of each query the hint moves by more than a nat: [queries]."""
        gaps = [self.under["true"][i][at] - self.plain[i][at] for i, at in self.queries.tokens]
        return np.array([np.nan if np.isnan(gap).any() else (np.abs(gap) > NAT).sum() for gap in gaps], float)

    def ranked(self, rewards: NDArray[np.float64]) -> Estimate:
        """Return Spearman's correlation of an attempt's mean gap with its reward in a group, its mean over groups."""
        queries, found = self.queries, []
        owner = np.array([index for index, _ in queries.tokens], np.intp)
        for group in range(queries.groups):
            mine = (queries.group == group) & ~np.isnan(self.gap)
            attempts = np.unique(owner[mine])
            gaps = [self.gap[mine & (owner == attempt)].mean() for attempt in attempts]
            found.append(spearman(gaps, [rewards[mine & (owner == attempt)][0] for attempt in attempts]))
        return mean([rank for rank in found if not np.isnan(rank)])

    def ranked_turns(self, advantages: NDArray[np.float64]) -> Estimate:
        """Return Spearman's correlation of queries' gaps with their advantages in a group, its mean over groups."""
        known = ~np.isnan(self.gap) & ~np.isnan(advantages)
        cuts = [known & (self.queries.group == group) for group in range(self.queries.groups)]
        found = [spearman(self.gap[mine], advantages[mine]) for mine in cuts]
        return mean([rank for rank in found if not np.isnan(rank)])


def spearman(one: Sequence[float] | NDArray[np.float64], other: Sequence[float] | NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN where one side is all alike or has fewer than two numbers."""
    from scipy.stats import spearmanr

    if len(set(np.asarray(one).tolist())) < 2 or len(set(np.asarray(other).tolist())) < 2:
        return float("nan")
    return float(spearmanr(one, other).statistic)

"""How much more a teacher that knows more likes what was sampled: the credit that self-distillation implies.

A policy gradient on log p(teacher) - log p(sampled) is, in expectation, that of the reverse KL from teacher to policy,
one sampled token in place of the sum over the vocabulary: the usual form of on-policy distillation and TRL's default in
SDPO (2601.20802). It is also what a `distill` term says of a token, so that it can be judged as a credit.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.contracts.hint import Hint, Teacher
from sdsearch.core.trajectory import Group, Span, kept
from sdsearch.crediting.incompatible import SELF
from sdsearch.crediting.per_turn import by_turn, per_turn


class LogRatio(Credit):
    """log p(teacher) - log p(sampled), in nats, on the tokens of a span; NaN, never credited, elsewhere."""

    hint: Hint | None = Field(default="hindsight", validate_default=True)
    """What the teacher sees besides; none: what the policy saw, for a teacher with other weights."""
    teacher: Teacher = "live"
    """The weights that are asked, see `distill`."""
    rows: Literal["query", "answer", "think", "policy"] = "query"
    """The tokens that are credited: of one span, or all that were sampled."""
    per: Literal["token", "turn"] = "token"
    """Each token has its own number, or the mean over those of its turn."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher}) - {"live"}

    @property
    def heeds_reward(self) -> bool:
        return False

    def objection(self, conditions: Conditions) -> str | None:
        if self.hint is None:
            return SELF if self.teacher == "live" else None
        return self.hint.objection(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        hints = [hint for texts in self.hint.placed(groups, probe.seed) for hint in texts] if self.hint else None
        advantages: Numbers = []
        for t, taught in zip(kept(groups), probe.logprobs(groups, hints, self.teacher), strict=True):
            spans = np.array([s for a in t.actions for s in a.spans], np.int8)
            logprobs = np.array([p for a in t.actions for p in a.logprobs], np.float64)
            mine = (spans == Span[self.rows.upper()]) if self.rows != "policy" else np.ones(len(spans), bool)
            gaps = np.where(mine, taught - logprobs, np.nan)
            if self.per == "turn":
                turns = [part[~np.isnan(part)] for part in by_turn(t, gaps)]
                gaps = np.where(mine, per_turn(t, [p.mean() if len(p) else np.nan for p in turns]), np.nan)
            advantages.append(gaps)
        return Advantages(advantages)

"""SDAR: raise what a hinted teacher likes better, the more surely it does so, as a small help beside the reward.

Plain self-distillation follows a teacher whose hint may mislead it as readily as one that knows better. Here the pull
on the sampled token is gated: g * (log p_teacher - log p), with g = sigmoid(sharpness * gap) held fixed, so that its
gradient is -g * grad log p (2605.15155, and its code: sharpness 5, weight 0.01, the mean over all sampled tokens). With
sharpness 0 the gate is one half everywhere, which raises whatever was sampled and is what the source's tables call
GRPO+OPSD. Deviations: the mean is over all tokens of `rows` in the step that have a hint; the source's teacher reads
skills from a library, ours any hint.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint, Teacher
from sdsearch.contracts.loss import LossInput, LossOutput, Schedule, Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Span
from sdsearch.crediting.incompatible import SELF


class GatedGap(Term):
    """sigmoid(sharpness * gap) * gap, the gate without gradient: gap = log p(teacher) - log p of the sampled token."""

    heeds_credit: ClassVar[bool] = False
    weight: float | Schedule = 0.01
    """The factor of this term in the loss: a number, or one that changes with the step."""
    hint: Hint | None
    """What the teacher sees in front; null: what the policy saw, for a teacher with other weights."""
    rows: Literal["query", "answer", "think", "policy"] = "policy"
    """The tokens that are pulled: of one span, or all that were sampled."""
    teacher: Teacher = "live"
    """The weights that teach, see `distill`."""
    sharpness: float = Field(5.0, ge=0)
    """How fast the gate opens with the gap, per nat; 0: it stands half open."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher})

    def objection(self, conditions: Conditions) -> str | None:
        if self.hint is None:
            return SELF if self.teacher == "live" else None
        return self.hint.objection(conditions)

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose the tokens of the span that have a hint."""
        hints = [h for own in self.hint.placed(table.groups, seed) for h in own] if self.hint else None
        rows = table.span >= 0 if self.rows == "policy" else table.span == Span[self.rows.upper()]
        return Selection(rows, self.teacher, hints)

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows]; logs the gap, the gate, and how often the gate is more than half open."""
        from sdsearch.policy.logprobs import pick

        gap = pick(rows.teacher, rows.table.token) - rows.logprob
        gate = (self.sharpness * gap.detach()).sigmoid()
        metrics = {"gap": gap.detach(), "gate": gate, "open": (gate > 0.5).to(gate.dtype)}
        return LossOutput(gate * gap, metrics)

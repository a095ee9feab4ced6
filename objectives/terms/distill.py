"""Self-distillation: the policy learns, at chosen tokens, what it would have written had it seen a hint.

The teacher is the same model with a hint beside the prompt, scoring the student's own tokens, so credit arrives per
token without another model (SD-Search, 2605.18299: hindsight at query tokens, Jensen-Shannon, top 50). SDPO, OPSD and
SDFT are other settings of the same fields.

SD-Search leaves open who owns the top k and what becomes of the rest. Default: the student's, as in SDPO's code, for it
is where the student can move mass, and a bucket for the rest: that compares two coarser distributions, so it is never
above the exact Jensen-Shannon or KL divergence, and mass that leaves the support is seen.

It is also silent on what the divergences are divided by. Our reading is `over: step`, a mean over all kept trajectories
of the step, taught or not: like the policy gradient beside it, the term then weighs less in a step with fewer groups to
teach. A mean over those that are taught (`over: taught`) has the same size in every step that teaches anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint, Hints, HintText, Teacher, hint_at
from sdsearch.contracts.loss import Divergence, LossInput, LossOutput, Selection, Tail, Term
from sdsearch.core.answers import correct, gives_away
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Span
from sdsearch.crediting.incompatible import SELF, alone

if TYPE_CHECKING:
    from torch import Tensor


class Distill(Term):
    """A divergence between the policy and its hinted self; no gradient reaches the teacher."""

    heeds_credit: ClassVar[bool] = False
    normalise: Literal["token", "trajectory"] = "trajectory"
    """What counts the same: every token of `rows`, or every trajectory, and each token of `rows` within it."""
    over: Literal["step", "taught"] = "step"
    """What the mean is over: all kept trajectories of the step (with `normalise: token` their tokens of `rows`), those
    whose divergence is zero because the gate or the hint leaves them out among them, or those only that are taught."""
    hint: Hint | None
    """What the teacher sees besides; null: what the policy saw, for a teacher with other weights."""
    rows: Literal["query", "answer", "think", "policy"] = "query"
    """The tokens to distil: of one span, or all that were sampled."""
    divergence: Divergence = "jsd"
    """Jensen-Shannon, KL(teacher, policy), KL(policy, teacher), or the squared gap in probabilities."""
    beta: float = Field(0.5, gt=0, lt=1)
    """The teacher's part in the mixture of `jsd` (GKD, 2306.13649); a half makes it symmetric."""
    top_k: int | None = Field(50, ge=1, le=1_000_000)
    """Compare these tokens of the vocabulary only; None: all."""
    support: Literal["student", "teacher"] = "student"
    """Whose most probable tokens they are."""
    tail: Tail = "bucket"
    """The mass of all other tokens: one more token, spread over those kept, or left out of the sum."""
    teacher: Teacher = "live"
    """The weights that teach: the policy's own, their moving average (at the rate `train.ema`), the first ones, or
    those of the spec's `teacher`."""
    gate: Literal["all", "mixed", "has_correct", "wrong"] = "all"
    """Which groups: all, those with right and wrong answers, or those with a right one; or, of all groups, the attempts
    that were wrong (SRPO, 2604.02288)."""
    correct_by: Literal["f1", "exact_match"] = "f1"
    """What `gate` calls right: an F1, or an exact match, above 0."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher})

    def objection(self, conditions: Conditions) -> str | None:
        if self.hint is None and self.teacher == "live":
            return SELF
        if self.gate == "mixed" and (why := alone(conditions)):
            return why
        return self.hint.objection(conditions) if self.hint else None

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose the tokens of the span in the groups that pass the gate and have a hint."""
        # An empty text leaves the prompt as it was.
        plain: list[list[HintText]] = [[""] * len(g.kept) for g in table.groups]
        texts = self.hint.placed(table.groups, seed) if self.hint else plain
        hints: list[HintText] = []
        for group, part in zip(table.groups, texts, strict=True):
            hints += [hint if passes else None for hint, passes in zip(part, self.passes(group), strict=True)]
        rows = table.span >= 0 if self.rows == "policy" else table.span == Span[self.rows.upper()]
        whole = table.span >= 0 if self.normalise == "trajectory" else rows
        return Selection(rows, self.teacher, hints, whole if self.over == "step" else None)

    def passes(self, group: Group) -> list[bool]:
        """Say which kept trajectories of a group the gate lets through."""
        right = [correct(t, self.correct_by) for t in group.kept]
        if self.gate == "wrong":
            return [not each for each in right]
        return [self.gate == "all" or (any(right) and (self.gate == "has_correct" or not all(right)))] * len(right)

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows].

        Logs how much more the teacher likes the sampled token, how much surer it is, and whether its hint gives the
        accepted answer away ("answer_in_hint": the share of such blocks).
        """
        import torch

        from sdsearch.policy.logprobs import compare, entropy, pick, reduced, top

        owner = rows.teacher if self.support == "teacher" else rows.logits.detach()
        support = top(owner, self.top_k)
        student, teacher = (reduced(x, support, self.tail) for x in (rows.logits, rows.teacher))
        with torch.no_grad():
            metrics = {
                "gap": pick(rows.teacher, rows.table.token) - rows.logprob,
                "entropy_gap": entropy(rows.logits) - entropy(rows.teacher),
            }
            if rows.hints is not None:
                metrics["answer_in_hint"] = leaks(rows.table, rows.hints)
        return LossOutput(compare(student, teacher, self.divergence, self.beta), metrics)


def leaks(table: TokenTable, hints: Hints) -> Tensor:
    """Return 1 for each row whose teacher saw the accepted answer, else 0; float32 [rows]."""
    at = list(zip(table.trajectory.tolist(), table.turn.tolist(), strict=True))
    given_away = {
        (t, turn): gives_away(hint_at(hints[t], turn), table.trajectories[t].question.answers)
        for t, turn in dict.fromkeys(at)
    }
    return table.sampler_logprob.new_tensor([given_away[pair] for pair in at])

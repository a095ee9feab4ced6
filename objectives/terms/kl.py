"""KL divergence of the policy from a reference: do not forget what the reference knows.

Outcome reward alone wears away what it does not measure. k3 (Schulman, "Approximating KL divergence", 2020; GRPO,
2402.03300, equation 4; `low_var_kl` in verl) is never negative and varies little, so it is the default. As losses the
estimates differ from the quantity: where the policy is still the one that sampled, the mean gradient of k1 is zero,
that of k2 is KL(policy || reference)'s, that of k3 KL(reference || policy)'s. "full" is KL(policy || reference) itself.
The mean is over all sampled tokens of the step, credited or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.core.tokens import TokenTable

if TYPE_CHECKING:
    from torch import Tensor


class KL(Term):
    """An estimate of KL(policy || reference) at every sampled token. The reference sees what the policy saw."""

    heeds_credit: ClassVar[bool] = False
    estimator: Literal["k1", "k2", "k3", "full"] = "k3"
    """From the sampled token (k1, k2, k3), or over the whole vocabulary."""
    teacher: Literal["ema", "frozen"] = "frozen"
    """The reference: a moving average of the weights, or the weights at the start."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher})

    def objection(self, conditions: Conditions) -> str | None:
        if self.estimator == "k1" and conditions.epochs == 1:
            return "where each rollout is learned from once, the mean gradient of k1 is zero: expected k2, k3 or full"
        return None

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every row."""
        return Selection(table.span >= 0, self.teacher)

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows], in nats."""
        from sdsearch.policy.logprobs import compare, pick

        if self.estimator == "full":
            return LossOutput(compare(rows.logits.log_softmax(1), rows.teacher.log_softmax(1), "reverse_kl"), {})
        return LossOutput(estimate(rows.logprob, pick(rows.teacher, rows.table.token), self.estimator), {})


def estimate(logprob: Tensor, reference: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Estimate the divergence from log-probabilities [N] of sampled tokens.

    With r = log reference - log p: k1 = -r, k2 = r^2 / 2, k3 = exp(r) - 1 - r, where r is clamped: exp would overflow.
    """
    from sdsearch.policy.logprobs import LIMIT

    r = reference - logprob
    if estimator == "k1":
        return -r
    if estimator == "k2":
        return r.square() / 2
    r = r.clamp(-LIMIT, LIMIT)
    return r.expm1() - r

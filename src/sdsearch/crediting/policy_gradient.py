"""What all policy gradients have in common: the tokens they work on, and how they make up for another sampler.

Two ratios must not be mixed (Yao et al., "Your efficient RL framework secretly brings you off-policy RL training",
2025; AReaL, 2505.24298, calls it decoupled PPO). The learner's probability now against its own when the step began is
what a clip bounds. Its own then against the sampler's is how far the samples are from this policy at all: another
engine's rounding, or groups of an older policy. The second is a weight without gradient, truncated above.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.loss import Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.crediting.incompatible import uncredited

if TYPE_CHECKING:
    from torch import Tensor


class PolicyGradient(Term):
    """A term that raises what deserves credit, on every credited token."""

    follows_credit: ClassVar[bool] = True
    correction: float | None = Field(None, ge=1)
    """Count each token as often as the learner finds it likelier than the sampler did, but at most so often
    (2 is usual); None: once."""

    def objection(self, conditions: Conditions) -> str | None:
        return uncredited(conditions)

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every token that was ever credited: a credit of zero counts in the mean, NaN does not."""
        return Selection(~table.advantage.isnan())

    def corrected(self, loss: Tensor, table: TokenTable) -> Tensor:
        """Return losses [rows], each times min(p old / p sampler, `correction`)."""
        if self.correction is None:
            return loss
        # Bounded before `exp`, which could overflow.
        return loss * (table.old_logprob - table.sampler_logprob).clamp_max(log(self.correction)).exp()

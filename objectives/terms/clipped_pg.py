"""PPO's clipped policy gradient: raise what deserves credit, without going far from what sampled it.

Several updates on one batch would otherwise follow the credit to wherever the ratio takes them (Schulman et al.,
1707.06347, equation 7). The ratio is taken to the probabilities that the sampler reported, so that a difference between
sampler and trainer is corrected too. A larger `clip_high` lets rare tokens rise (DAPO, 2503.14476).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from sdsearch.crediting.objections import uncredited
from sdsearch.model.divergence import entropy, ratio
from sdsearch.objective import Rows, Selection, Term, Values
from sdsearch.tokens import TokenTable

if TYPE_CHECKING:
    from sdsearch.spec import Experiment


class ClippedPG(Term):
    """-min(ratio * credit, clip(ratio) * credit) on every credited token."""

    follows_credit: ClassVar[bool] = True
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio may fall by this much before the gradient stops."""
    clip_high: float | None = Field(None, gt=0)
    """The ratio may rise by this much; None: as much as it may fall."""

    def objection(self, experiment: Experiment) -> str | None:
        return uncredited(experiment)

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every token that was ever credited: a credit of zero counts in the mean, NaN does not."""
        return Selection(~table.credit.isnan())

    def values(self, rows: Rows) -> Values:
        """Return losses [rows]; logs how far the policy has moved, how often it is clipped, and its entropy."""
        credit = rows.table.credit
        logprob = rows.logprob
        moved = ratio(logprob, rows.table.logprob)
        high = self.clip if self.clip_high is None else self.clip_high
        free, held = moved * credit, moved.clamp(1 - self.clip, 1 + high) * credit
        with torch.no_grad():
            metrics = {
                "clipped": (held < free).to(free.dtype),
                "log_ratio": (logprob - rows.table.logprob).abs(),
                "entropy": entropy(rows.logits),
            }
        return Values(-torch.minimum(free, held), metrics)

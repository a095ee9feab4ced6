"""Importance-weighted policy gradient whose weight is cut off above: no token's gradient is ever dropped.

Clipping the objective removes the gradient of exactly the tokens that change most; truncating a weight that itself has
no gradient keeps them (CISPO, 2506.13585, with the upper bound only). With a cap of 2 this is also
the usual correction where sampler and trainer disagree about the probabilities.
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


class TruncatedPG(Term):
    """-min(ratio, cap) * credit * log p on every credited token, without gradient through the ratio."""

    follows_credit: ClassVar[bool] = True
    cap: float = Field(2.0, gt=0)

    def objection(self, experiment: Experiment) -> str | None:
        return uncredited(experiment)

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every token that was ever credited."""
        return Selection(~table.credit.isnan())

    def values(self, rows: Rows) -> Values:
        """Return losses [rows]; logs how far the policy has moved, how often it is cut off, and its entropy."""
        logprob = rows.logprob
        with torch.no_grad():
            moved = ratio(logprob, rows.table.logprob)
            metrics = {
                "clipped": (moved > self.cap).to(moved.dtype),
                "log_ratio": (logprob - rows.table.logprob).abs(),
                "entropy": entropy(rows.logits),
            }
        return Values(-moved.clamp_max(self.cap) * rows.table.credit * logprob, metrics)

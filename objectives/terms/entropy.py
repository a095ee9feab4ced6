"""Entropy bonus: keep the policy from settling too early.

A policy that has become certain samples equal trajectories, whose group has no contrast left to learn from. Exact over
the vocabulary, a mean over all sampled tokens of the step (Williams and Peng, 1991).
"""

from __future__ import annotations

from typing import ClassVar

from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.core.tokens import TokenTable


class Entropy(Term):
    """Minus the entropy of the policy at every sampled token: a positive weight raises the entropy."""

    heeds_credit: ClassVar[bool] = False

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every row."""
        return Selection(table.span >= 0)

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows], in nats."""
        from sdsearch.policy.logprobs import entropy

        return LossOutput(-entropy(rows.logits), {})

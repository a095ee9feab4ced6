"""Entropy bonus: keep the policy from settling too early.

A policy that has become certain samples equal trajectories, whose group has no contrast left to learn from. Exact over
the vocabulary, on sampled tokens only (Williams and Peng, 1991).
"""

from __future__ import annotations

from typing import ClassVar

import torch

from sdsearch.model.divergence import entropy
from sdsearch.objective import Rows, Selection, Term, Values
from sdsearch.tokens import TokenTable


class Entropy(Term):
    """Minus the entropy of the policy at every sampled token: a positive weight raises the entropy."""

    heeds_credit: ClassVar[bool] = False

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every row."""
        return Selection(torch.ones_like(table.token, dtype=torch.bool))

    def values(self, rows: Rows) -> Values:
        """Return losses [rows], in nats."""
        return Values(-entropy(rows.logits), {})

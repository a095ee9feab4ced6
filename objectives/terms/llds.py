"""LLDS: hold what deserves no blame where it was, when an action of it has become less likely as a whole.

GRPO on search agents collapses after the likelihood of right answers has long fallen, dragged down with wrong ones that
share their tokens (Deng et al., 2512.04220: lazy likelihood displacement). So the fall of a token's log-probability is
a loss, for tokens of credit >= 0 only, and only in actions, or trajectories, whose likelihood has fallen altogether;
the action-level gate is their best. The mean is over all credited tokens of the step, held or not, as in the authors'
code, where the weight is 0.2 and the threshold 0; that code can treat answers apart, which is not offered. Before a
step's first update nothing has fallen but by rounding, which differs between sampler and trainer, and a gradient does
not care how little: hence the threshold.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.loss import LossInput, LossOutput, Schedule, Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.crediting.incompatible import uncredited


class LLDS(Term):
    """max(0, log p old - log p) on the tokens of credit >= 0 whose action has become less likely; 0 elsewhere."""

    weight: float | Schedule = 0.2
    """The factor of this term in the loss: a number, or one that changes with the step."""
    gate: Literal["action", "trajectory"] = "action"
    """What has to have become less likely: the action or the trajectory, summed over its tokens of credit >= 0."""
    threshold: float = Field(1e-3, ge=0)
    """By how much it has to be: nats."""

    def objection(self, conditions: Conditions) -> str | None:
        if conditions.epochs == 1:
            return "train.epochs is 1, so that it only ever sees the policy that sampled: expected at least 2"
        return uncredited(conditions)

    def select(self, table: TokenTable, seed: int) -> Selection:
        """Choose every token that was ever credited: they are what the mean is over."""
        return Selection(~table.advantage.isnan())

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows]; logs how many tokens are held."""
        import torch

        table = rows.table
        fallen = table.old_logprob - rows.logprob
        blameless = table.advantage >= 0
        place = table.trajectory
        if self.gate == "action":
            place = place * (int(table.turn.max()) + 1) + table.turn
        part = torch.where(blameless, fallen.detach(), 0.0)
        total = part.new_zeros(int(place.max()) + 1).index_add(0, place, part)
        held = blameless & (total[place] > self.threshold)
        return LossOutput(torch.where(held, fallen.relu(), 0.0), {"held": held.to(fallen.dtype)})

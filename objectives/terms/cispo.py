"""CISPO: a policy gradient whose importance weight is clipped and has no gradient, so that no token is ever dropped.

PPO's clip takes away the gradient of exactly the tokens that change most, often the rare ones where reasoning turns
(MiniMax, 2506.13585). Implementations differ in the lower bound: the paper leaves it open in
effect and so does TRL, verl has both; `clip` chooses. The upper bound is not published: the default counts a ratio at
most 5 times, as ScaleRL does (2510.13786). The mean is over all credited tokens of the step, as in the paper. It
differs from REINFORCE only where the policy has moved, `train.epochs` above 1.
"""

from __future__ import annotations

from pydantic import Field

from sdsearch.contracts.loss import LossInput, LossOutput
from sdsearch.crediting.policy_gradient import PolicyGradient


class CISPO(PolicyGradient):
    """-clip(ratio) * credit * log p on every credited token, without gradient through the ratio."""

    clip: float | None = Field(None, gt=0, lt=1)
    """The ratio counts as no less than 1 minus this; None: as what it is."""
    clip_high: float = Field(4.0, gt=0)
    """The ratio counts as no more than 1 plus this."""

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows]; logs how far the policy has moved, how often it is clipped, and its entropy."""
        import torch

        from sdsearch.policy.logprobs import entropy, ratio

        logprob = rows.logprob
        with torch.no_grad():
            moved = ratio(logprob, rows.table.old_logprob)
            held = moved.clamp(0.0 if self.clip is None else 1 - self.clip, 1 + self.clip_high)
            metrics = {
                "clipped": (moved != held).to(moved.dtype),
                "log_ratio": (logprob - rows.table.old_logprob).abs(),
                "entropy": entropy(rows.logits),
            }
        return LossOutput(self.corrected(-held * rows.table.advantage * logprob, rows.table), metrics)

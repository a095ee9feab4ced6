"""PPO's clipped policy gradient: raise what deserves credit, without going far from what sampled it.

Several updates on one batch would otherwise follow the credit to wherever the ratio takes them (Schulman et al.,
1707.06347, equation 7). The ratio is taken to the learner's own probabilities before the step's first update; what the
sampler's were is `correction`'s. A larger `clip_high` lets rare tokens rise (DAPO, 2503.14476). The mean is over all
credited tokens of the step, as in verl; those whose credit is zero count.
"""

from __future__ import annotations

from pydantic import Field

from sdsearch.contracts.loss import LossInput, LossOutput
from sdsearch.crediting.policy_gradient import PolicyGradient


class ClippedPG(PolicyGradient):
    """-min(ratio * credit, clip(ratio) * credit) on every credited token."""

    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio may fall by this much before the gradient stops."""
    clip_high: float | None = Field(None, gt=0)
    """The ratio may rise by this much; None: as much as it may fall."""

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows]; logs how far the policy has moved, how often it is clipped, and its entropy."""
        import torch

        from sdsearch.policy.logprobs import entropy, ratio

        advantage, logprob = rows.table.advantage, rows.logprob
        moved = ratio(logprob, rows.table.old_logprob)
        high = self.clip if self.clip_high is None else self.clip_high
        free, held = moved * advantage, moved.clamp(1 - self.clip, 1 + high) * advantage
        with torch.no_grad():
            metrics = {
                "clipped": (held < free).to(free.dtype),
                "log_ratio": (logprob - rows.table.old_logprob).abs(),
                "entropy": entropy(rows.logits),
            }
        return LossOutput(self.corrected(-torch.minimum(free, held), rows.table), metrics)

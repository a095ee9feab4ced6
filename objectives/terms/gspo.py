"""GSPO: the clipped policy gradient with one ratio for a whole trajectory.

The reward is the sequence's, so the correction for old samples should be too: ratios of single tokens add noise that
grows with the length (Zheng et al., 2507.18071). This is the paper's token form: the ratio is the sequence's, the
gradient flows through each token's own log-probability, so credit may differ from token to token; where it does not,
the gradient is the sequence form's. Observations were not sampled and do not count. The mean is over all trajectories
of the step with credited tokens, and over these within each. While the weights are those that sampled, it is
`clipped_pg` with `normalise: trajectory`: `train.epochs` above 1 tells them apart.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdsearch.contracts.loss import LossInput, LossOutput
from sdsearch.crediting.policy_gradient import PolicyGradient


class GSPO(PolicyGradient):
    """-min(s * credit, clip(s) * credit), s = exp(mean log-ratio of the trajectory's credited tokens)."""

    normalise: Literal["token", "trajectory", "constant"] = "trajectory"
    """What counts the same, see `Term`; the source lets every trajectory."""
    clip: float = Field(3e-4, gt=0, lt=1)
    """The ratio may fall by this much before the gradient stops; a mean over tokens moves little."""
    clip_high: float = Field(4e-4, gt=0)
    """The ratio may rise by this much."""

    def loss(self, rows: LossInput) -> LossOutput:
        """Return losses [rows]; logs how far the policy has moved, how often it is clipped, and its entropy."""
        import torch

        from sdsearch.policy.logprobs import LIMIT, entropy

        advantage, logprob = rows.table.advantage, rows.logprob
        with torch.no_grad():
            apart = logprob - rows.table.old_logprob
            owner, nothing = rows.table.trajectory, apart.new_zeros(len(rows.table.trajectories))
            size = nothing.index_add(0, owner, torch.ones_like(apart))[owner]
            ratio = (nothing.index_add(0, owner, apart)[owner] / size).clamp(-LIMIT, LIMIT).exp()
        moved = ratio * (logprob - logprob.detach()).exp()
        free, held = moved * advantage, moved.clamp(1 - self.clip, 1 + self.clip_high) * advantage
        clipped = (held < free).detach().to(free.dtype)
        metrics = {"clipped": clipped, "log_ratio": apart.abs(), "entropy": entropy(rows.logits.detach())}
        return LossOutput(self.corrected(-torch.minimum(free, held), rows.table), metrics)

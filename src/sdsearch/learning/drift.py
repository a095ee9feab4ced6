"""How far the policy is from the one that sampled, or from where the step began.

Every gradient assumes that the sampled tokens still speak for the policy. Before the first update of a step the two
should be one model: what differs there is a disagreement of sampler and learner. After it the policy moves away from
its own old probabilities, which ratios are taken to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdsearch.policy.logprobs import pick, ratio

ROWS = 1024
"""Rows that are measured at once: another copy of all logits would not fit where the vocabulary is large."""


@dataclass
class Drift:
    """Sums over the sampled tokens that some term works on; they add up over micro-batches and processes."""

    rows: int = 0
    moved: float = 0.0
    """|log p now - log p then|."""
    furthest: float = 0.0
    """The largest of them."""
    ratios: float = 0.0
    """p now / p then."""
    squares: float = 0.0
    """Its square."""

    @torch.no_grad()
    def see(self, logits: Tensor, token: Tensor, then: Tensor) -> None:
        """Add the policy's logits [rows, vocabulary] for tokens [rows] whose log-probabilities were `then` [rows]."""
        for start in range(0, len(token), ROWS):
            some = slice(start, start + ROWS)
            logprob = pick(logits[some], token[some])
            moved, weight = (logprob - then[some]).abs(), ratio(logprob, then[some])
            sums = torch.stack([moved.sum(), weight.sum(), weight.square().sum()]).tolist()
            self.add(Drift(len(moved), sums[0], float(moved.max()), *sums[1:]))

    def add(self, other: Drift) -> None:
        """Add the sums of another part of the rows."""
        self.rows += other.rows
        self.moved += other.moved
        self.furthest = float(np.maximum(self.furthest, other.furthest))  # unlike `max`, it never loses a NaN
        self.ratios += other.ratios
        self.squares += other.squares

    def figures(self) -> dict[str, float]:
        """Return the means, none for no rows.

        "drift_mean" and "drift_max" are of |log p now - log p then|; "effective_share" is (sum r)^2 / (N sum r^2) of
        the N ratios r of single tokens: how many equally weighted tokens they are worth (Kish), as a share of N.
        """
        if not self.rows:
            return {}
        return {
            "drift_mean": self.moved / self.rows,
            "drift_max": self.furthest,
            "effective_share": self.ratios**2 / (self.rows * self.squares),
        }

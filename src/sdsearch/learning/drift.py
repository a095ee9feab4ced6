"""How far the policy is from the one that sampled.

Every gradient assumes that the sampled tokens still speak for the policy. Before the first update of a step the two
should be one model: what differs there is a disagreement of sampler and trainer. After it the policy moves away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdsearch.core.tokens import TokenTable
from sdsearch.policy.logprobs import pick, ratio

ROWS = 1024
"""Rows that are measured at once: another copy of all logits would not fit where the vocabulary is large."""


@dataclass
class Drift:
    """Sums over the sampled tokens that some term works on; they add up over micro-batches and processes."""

    rows: int = 0
    moved: float = 0.0
    """|log p now - log p sampled|."""
    furthest: float = 0.0
    """The largest of them."""
    ratios: float = 0.0
    """p now / p sampled."""
    squares: float = 0.0
    """Its square."""

    @torch.no_grad()
    def see(self, logits: Tensor, rows: TokenTable) -> None:
        """Add the policy's logits [rows, vocabulary] for the tokens of `rows`."""
        for start in range(0, len(rows), ROWS):
            index = torch.arange(start, min(start + ROWS, len(rows)), device=logits.device)
            scored, some = logits[index], rows.at(index)
            logprob = pick(scored, some.token)
            moved, weight = (logprob - some.logprob).abs(), ratio(logprob, some.logprob)
            sums = torch.stack([moved.sum(), weight.sum(), weight.square().sum()]).tolist()
            self.add(Drift(len(some), sums[0], float(moved.max()), *sums[1:]))

    def add(self, other: Drift) -> None:
        """Add the sums of another part of the rows."""
        self.rows += other.rows
        self.moved += other.moved
        self.furthest = float(np.maximum(self.furthest, other.furthest))  # unlike `max`, it never loses a NaN
        self.ratios += other.ratios
        self.squares += other.squares

    def figures(self) -> dict[str, float]:
        """Return the means, none for no rows.

        "drift_mean" and "drift_max" are of |log p now - log p sampled|; "effective_share" is (sum r)^2 / (N sum r^2) of
        the N ratios r of single tokens: how many equally weighted tokens they are worth (Kish), as a share of N.
        """
        if not self.rows:
            return {}
        return {
            "drift_mean": self.moved / self.rows,
            "drift_max": self.furthest,
            "effective_share": self.ratios**2 / (self.rows * self.squares),
        }

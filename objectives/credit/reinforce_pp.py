"""REINFORCE++: what a token deserves is the return from it on, on the scale of the whole step.

A baseline over the batch needs neither a critic nor several rollouts of a question, and does not magnify questions
whose rewards hardly vary (Hu, 2501.03262). The reward comes with the last token; before it each token may pay for how
much likelier it is than under the first weights (k1: the sampler's log-probability minus theirs). The baseline form
takes the group's mean from the reward first; verl's has neither payment nor discount, here they are what is set. The
clip that goes with it is `clipped_pg`'s. A discount counts sampled tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Probe
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import discounted, whitened


class ReinforcePP(Credit):
    """The discounted return of each token, whitened over all tokens of the step. A token alone gets 0."""

    gamma: float = Field(1.0, gt=0, le=1)
    """The discount of each token on the way."""
    kl: float = Field(0.0, ge=0)
    """What a nat above the first weights costs; 0: nothing, and those weights are not kept."""
    baseline: bool = False
    """Take the mean of the group from the reward."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"frozen"} if self.kl else ())

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions) if self.baseline else None

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        means = [np.mean([t.reward for t in g.kept]) if self.baseline else 0.0 for g in groups for _ in g.kept]
        first = probe.logprobs(groups, teacher="frozen") if self.kl else []
        parts = []
        for i, (trajectory, mean) in enumerate(zip(kept(groups), means, strict=True)):
            then = np.array([p for s in trajectory.actions for p in s.logprobs])
            rewards = -self.kl * (then - first[i]) if self.kl else np.zeros(len(then))
            rewards[-1:] += trajectory.reward - mean
            parts.append(discounted(rewards, self.gamma))
        return Advantages(whitened(parts, probe))

"""DAPO's treatment of length: a reward that falls off softly near the limit, and no blame for what was cut off.

A sound episode that merely ran out of room would be punished as a wrong one, which is noise (Yu et al., 2503.14476,
section 3.4 and equation 13). So the penalty is put on the reward before the wrapped credit sees it, and trajectories
that were cut off are never credited; their rewards stay in the group's baseline, as in verl. Here length counts all
sampled tokens of an episode; running out of turns is a rule of the task and counts as being cut off only where `drop`
says so: it would take the blame off agents that never answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sdsearch.contracts.credit import Advantages, Probe
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.per_turn import whole
from sdsearch.crediting.wrapper import RewardWrapper, rewarded


class Overlong(RewardWrapper):
    """The credit `of` the reward less min(1, share of the buffer that is used up) * penalty; NaN where cut off."""

    longest: int = Field(256, ge=1, le=1_000_000)
    """Sampled tokens at which the penalty is whole."""
    buffer: int = Field(51, ge=1, le=1_000_000)
    """Tokens before it over which the penalty rises from 0: a fifth, as in DAPO (4096 of 20480)."""
    penalty: float = Field(1.0, ge=0)
    """The whole penalty."""
    drop: tuple[Literal["max_turns", "context_full"], ...] = ("context_full",)
    """The stop reasons of trajectories that are never credited."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        rewards = [t.reward - self.penalty * self.used(t.sampled) for t in kept(groups)]
        values, targets = self.of.weighted(rewarded(groups, rewards), probe)
        pairs = zip(kept(groups), values, strict=True)
        return Advantages([whole(t, np.nan) if t.stop_reason in self.drop else part for t, part in pairs], targets)

    def used(self, length: int) -> float:
        """Return the share of the buffer that a length has used up, between 0 and 1."""
        return min(1.0, max(0.0, (length - self.longest + self.buffer) / self.buffer))

"""VinePPO: a turn deserves what it added to the expected reward, measured by playing on from before and after it.

A critic's values of reasoning states are poor; an environment that can be put back into any state gives unbiased ones
(Kazemnejad et al., 2410.01679): V(state) is the mean reward of `k` continuations, A = V(after) - V(before), where after
the last turn the episode's own reward stands. Its code then whitens them over the tokens of the step, as PPO's.

Deviations: steps are turns, all of which are measured; the state before turn 0, the question, is played once for all
attempts of a group. Where outages ended all continuations, the turns on both sides are never credited (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.core.trajectory import Fork, Group
from sdsearch.crediting.per_turn import per_turn, whitened


class Vine(Credit):
    """V(after the turn) - V(before it) on the tokens of each turn, whitened, or in units of the reward."""

    asks: ClassVar[str] = "extra rollouts"
    k: int = Field(9, ge=1, le=1000)
    """Continuations per state: each costs an episode's tokens and searches."""
    whiten: bool = True
    """Take the mean over the tokens of the step away and divide by their deviation."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        forks: dict[tuple[int, int, int], Fork] = {}
        for g, group in enumerate(groups):
            for i, t in enumerate(group.kept):
                for turn in range(len(t.actions)):
                    forks.setdefault((g, i if turn else 0, turn), Fork(t, turn))
        played = probe.continue_from(list(forks.values()), self.k) if forks else []
        values = {state: _mean([t.reward for t in later.kept]) for state, later in zip(forks, played, strict=True)}
        advantages: Numbers = []
        for g, group in enumerate(groups):
            for i, t in enumerate(group.kept):
                before = [values[g, i if turn else 0, turn] for turn in range(len(t.actions))]
                advantages.append(per_turn(t, np.diff([*before, t.reward])))
        return Advantages(whitened(advantages, probe) if self.whiten else advantages)


def _mean(rewards: list[float]) -> float:
    return float(np.mean(rewards)) if rewards else np.nan

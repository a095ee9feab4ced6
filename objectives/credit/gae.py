"""PPO: what came of a token, or of a turn, beyond what a critic had expected (generalised advantage estimation).

A critic finds the turning points of a single episode; lambda trades its bias for the return's variance (1506.02438,
1707.06347). Value and trace pass over observations, as in verl, unlike Search-R1. The reward comes with the last token;
the critic learns once it has been asked. With rollouts that branch (`tree`) a shared turn counts once for each leaf.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Probe
from sdsearch.core.trajectory import Group, Trajectory, kept
from sdsearch.crediting.incompatible import two_critics
from sdsearch.crediting.per_turn import discounted, whitened


class GAE(Credit):
    """sum_k (gamma lam)^k (r + gamma V' - V) from each token, or turn, on; whitened over the tokens of the step."""

    level: Literal["token", "turn"] = "token"
    """What the critic values, and what has an advantage of its own."""
    gamma: float = Field(1.0, gt=0, le=1)
    """The discount per token, or per turn."""
    lam: float = Field(1.0, ge=0, le=1)
    """Lambda: 1 takes the whole return and has no bias, 0 the critic's word for all that follows."""
    bootstrap: tuple[Literal["max_turns", "context_full"], ...] = ("context_full",)
    """The stop reasons after which the critic's last value stands in for what would have followed. A limit on turns is
    a rule of the task: nothing would have followed, and to bootstrap it would pay for not answering."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"critic"})

    def objection(self, conditions: Conditions) -> str | None:
        return two_critics(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        estimates = [self.estimate(t, v) for t, v in zip(kept(groups), probe.values(groups), strict=True)]
        values = whitened([advantages for advantages, _ in estimates], probe)
        return Advantages(values, [targets for _, targets in estimates])

    def estimate(self, trajectory: Trajectory, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return advantages and the critic's targets, both [sampled]; NaN: none. `values`: [sampled + 1]."""
        turns = [len(a.logprobs) for a in trajectory.actions if a.logprobs]
        lengths = np.array(turns if self.level == "turn" else [1] * trajectory.sampled, np.int64)
        starts = np.append(0, lengths.cumsum())
        states = values[starts]
        states[-1] *= trajectory.stop_reason in self.bootstrap
        deltas = self.gamma * states[1:] - states[:-1]
        deltas[-1:] += trajectory.reward
        advantages = discounted(deltas, self.gamma * self.lam)
        targets = np.full(trajectory.sampled, np.nan)
        targets[starts[:-1]] = advantages + states[:-1]
        return np.repeat(advantages, lengths), targets

"""HCAPO: a turn deserves more when the policy, told how it ended well, would have been more likely to take it.

The same policy scores its own turns a second time with the successful outcome in front of the prompt (2603.08754, after
a transcription of its text): pi = exp(mean log p / temperature), rho = clip(pi / mean of pi over the trajectory),
Q = rho * gamma^(turns that follow) * R, A = A_group + w * norm(Q) over the group; negative norm(Q) of successes are 0.

Deviations: the outcome is told by a hint, by default the accepted answer; a success is a reward above 0; smoothing,
whose form we do not know, mixes a turn's rho with that of the next turn and is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.anchors import returns
from sdsearch.crediting.objections import alone
from sdsearch.crediting.returns import per_turn
from sdsearch.crediting.turns import means, pooled
from sdsearch.objective import Credit, Hint
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.probe import Probe
from sdsearch.trajectory import Group, Trajectory


class HCAPO(Credit):
    """A_group + micro_weight * norm(Q) on the tokens of each turn; without a hint there is no Q, and A_group stays."""

    hint: Hint = Field(default="gold_answer", validate_default=True)
    micro_weight: float = 1.0
    temperature: float = Field(5.0, gt=0)
    clip: tuple[float, float] = (0.8, 1.2)
    """The least and the most that the ratio can be."""
    gamma: float = Field(0.95, gt=0, le=1)
    smoothing: float = Field(0.0, ge=0, lt=1)

    def objection(self, experiment: Any) -> str | None:
        if self.clip[0] >= self.clip[1]:
            return f"got clip: {list(self.clip)}, expected the lower bound first"
        return alone(experiment) or self.hint.objection(experiment)

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        hints = [told for texts in self.hint.texts(groups, probe.seed) for told in texts]
        scored = iter(probe.logprobs(groups, hints))
        found = []
        for group in (g for g in groups if g.kept):
            advantages = GroupMean().advantages([t.reward for t in group.kept])
            micros = pooled([self.value(t, means(t, next(scored))) for t in group.kept])
            for t, a, micro in zip(group.kept, advantages, micros, strict=True):
                own = np.nan_to_num(np.maximum(micro, 0.0) if t.reward > 0 else micro)
                found.append(per_turn(t, a + self.micro_weight * own))
        return found

    def value(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Q of each turn from the mean log-probabilities of its tokens in hindsight: [turns] -> [turns]."""
        likely = np.exp(logprobs / self.temperature)
        told = likely[~np.isnan(likely)]
        rho: NDArray[np.float64] = np.clip(likely / told.mean(), *self.clip) if len(told) else likely
        rho = (1 - self.smoothing) * rho + self.smoothing * np.append(rho[1:], rho[-1:])
        return rho * returns(trajectory, self.gamma)

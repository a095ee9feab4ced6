"""HCAPO: a turn deserves more when the policy, told how it ended well, would have been more likely to take it.

The same policy scores its own turns a second time with the outcome in front (2603.08754, after a transcription): pi =
exp(mean log p / temperature), rho = clip(pi / its mean over the trajectory), Q = rho * gamma^(turns that follow) * R,
A = A_group + w * norm(Q) over the group; negative norm(Q) of successes, which are rewards above 0 here, are 0. Its
smoothing takes a part of the next turn's Q before Q is standardised: Q_t <- alpha Q_t + (1 - alpha) Q_(t+1).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.contracts.hint import Hint
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.baselines import group_advantages, returns
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import by_group, means, per_turn, pooled


class HCAPO(Credit):
    """A_group + micro_weight * norm(Q) on the tokens of each turn; without a hint there is no Q, and A_group stays."""

    hint: Hint = Field(default="gold_answer", validate_default=True)
    """How the policy is told of success: by the accepted answer, not by a successful outcome."""
    micro_weight: float = Field(1.0, ge=0)
    """w, the factor of norm(Q)."""
    temperature: float = Field(5.0, gt=0)
    """What the mean log p of a turn is divided by."""
    clip: tuple[NonNegativeFloat, NonNegativeFloat] = (0.8, 1.2)
    """The least and the most that the ratio can be."""
    gamma: float = Field(0.95, gt=0, le=1)
    """The discount of the reward for each turn that follows."""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """The next turn's part in a turn's Q, 1 - alpha; the last turn keeps its own. The source has 0.5 where it is on."""

    def objection(self, conditions: Conditions) -> str | None:
        turned = None if self.clip[0] < self.clip[1] else f"got clip: {[*self.clip]}, expected the lower bound first"
        return turned or alone(conditions) or self.hint.objection(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        hints = [hint for texts in self.hint.placed(groups, probe.seed) for hint in texts]
        advantages: Numbers = []
        for group, logprobs in by_group(groups, probe.logprobs(groups, hints)):
            values = [self.value(t, means(t, numbers)) for t, numbers in zip(group.kept, logprobs, strict=True)]
            macros = group_advantages([t.reward for t in group.kept])
            for t, macro, micro in zip(group.kept, macros, pooled(values), strict=True):
                raised = np.nan_to_num(np.maximum(micro, 0.0) if t.reward > 0 else micro)
                advantages.append(per_turn(t, macro + self.micro_weight * raised))
        return Advantages(advantages)

    def value(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Q of each turn from the mean log-probabilities of its tokens in hindsight: [turns] -> [turns]."""
        likely = np.exp(logprobs / self.temperature)
        rho = np.clip(likely / (1.0 if np.isnan(likely).all() else np.nanmean(likely)), *self.clip)
        values = rho * returns(trajectory, self.gamma)
        later = np.append(values[1:], values[-1:])
        return np.asarray((1 - self.smoothing) * values + self.smoothing * later, np.float64)

"""TIPS: each turn is paid for what it added to a teacher's log-likelihood of the accepted answers.

A difference of potentials cannot be farmed by going round in circles (2603.22293): the potential is logsumexp over the
answers of the mean log p, a turn's reward `scale` times its rise in nats; the last turn has the outcome as well.
Deviations: returns-to-go, standardised over the group's turns, stand for PPO's critic; the final potential stays paid.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.contracts.hint import Teacher
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.gold import answered
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import by_group, discounted, per_turn, pooled


class TIPS(Credit):
    """Standardised returns-to-go on the tokens of each turn. Raises `DataError` without an accepted answer."""

    asks: ClassVar[str] = "the gold answer"
    scale: float = Field(0.02, ge=0)
    """The reward for one nat; the outcome is worth 0 to 1."""
    gamma: float = Field(1.0, gt=0, le=1)
    """The discount per turn."""
    teacher: Teacher = "frozen"
    """Whose potential it is: the first weights', or "live" for the policy's own."""
    settle: bool = False
    """Take the final potential back in the last turn: only then is what is optimal sure to stay so."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher}) - {"live"}

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        answered(groups)
        advantages: Numbers = []
        for group, logprobs in by_group(groups, probe.answer_logprobs(groups, self.teacher)):
            rewards = [self.rewards(t, numbers) for t, numbers in zip(group.kept, logprobs, strict=True)]
            returns = pooled([discounted(numbers, self.gamma) for numbers in rewards])
            advantages += [per_turn(t, numbers) for t, numbers in zip(group.kept, returns, strict=True)]
        return Advantages(advantages)

    def rewards(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reward of each turn from the answers' log-probabilities: [turns + 1, answers] -> [turns]."""
        most = logprobs.max(1)
        potential = most + np.log(np.exp(logprobs - most[:, None]).sum(1))
        rewards = np.asarray(self.scale * np.nan_to_num(np.diff(potential)), np.float64)
        if len(rewards):
            rewards[-1] += trajectory.reward - self.settle * self.scale * potential[~np.isnan(potential)][-1]
        return rewards

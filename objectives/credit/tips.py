"""TIPS: each turn is paid for what it added to a teacher's log-likelihood of the accepted answers.

A difference of potentials cannot be farmed by going round in circles (2603.22293): the potential is logsumexp over the
answers of the mean log p, a turn's reward `scale` times its rise in nats; the last turn has the outcome as well.
Deviations: returns-to-go, standardised over the group's turns, stand for PPO's critic; the final potential stays paid.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.annotations import answered
from sdsearch.crediting.objections import alone
from sdsearch.crediting.returns import discounted, per_turn
from sdsearch.crediting.turns import pooled
from sdsearch.objective import Credit, Teacher
from sdsearch.probe import Probe
from sdsearch.trajectory import Group, Trajectory


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

    def objection(self, experiment: Any) -> str | None:
        return alone(experiment)

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        answered(groups)
        told = iter(probe.answer_logprobs(groups, self.teacher))
        found = []
        for group in groups:
            returns = pooled([discounted(self.rewards(t, next(told)), self.gamma) for t in group.kept])
            found += [per_turn(t, own) for t, own in zip(group.kept, returns, strict=True)]
        return found

    def rewards(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reward of each turn from the answers' log-probabilities: [turns + 1, answers] -> [turns]."""
        most = logprobs.max(1)
        potential = most + np.log(np.exp(logprobs - most[:, None]).sum(1))
        rewards = np.asarray(self.scale * np.nan_to_num(np.diff(potential)), np.float64)
        if len(rewards):
            rewards[-1] += trajectory.reward - self.settle * self.scale * potential[~np.isnan(potential)][-1]
        return rewards

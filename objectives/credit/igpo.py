"""IGPO: a turn deserves what it added to the policy's own probability of the accepted answer.

Information gained is a reward for every turn that needs no judge and no extra rollouts (2510.14967): p_t = exp(mean
log p of the answer after turn t), r_t = p_t - p_(t-1), the last turn has the outcome instead; the rewards of all turns
of a group are standardised together, then summed from each turn on, discounted, and spread over the turn's tokens.

Its present code does the same, or standardises gains and outcomes by themselves. What is centred is then summed, so
that each further turn costs the mean reward, in either.

Deviations: with several accepted answers p_t is that of the likeliest one; the answer is scored without its tags;
nothing is discounted unless `gamma` is set; the deviation is the unbiased one (the code's is not), and a gain of 0
counts. Differences of log p in place of p, which the code can take too, are not offered.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.core.answers import f1
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.gold import answered
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import Array, by_group, discounted, per_turn, pooled


class IGPO(Credit):
    """The discounted sum of standardised rewards from each turn on. Raises `DataError` without an accepted answer."""

    asks: ClassVar[str] = "the gold answer"
    gamma: float = Field(1.0, gt=0, le=1)
    """The discount per turn. The paper discounts, its code does not (1), and neither does this default."""
    outcome: Literal["f1", "reward"] = "f1"
    """What the last turn is worth, an episode without an answer included: the F1 of the answer, or the reward."""
    standardise: Literal["joint", "separate"] = "joint"
    """Gains and outcomes of a group are standardised together, or each by themselves."""

    @property
    def heeds_reward(self) -> bool:
        return self.outcome == "reward"

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        answered(groups)
        advantages: Numbers = []
        for group, logprobs in by_group(groups, probe.answer_logprobs(groups)):
            rewards = [self.rewards(t, numbers) for t, numbers in zip(group.kept, logprobs, strict=True)]
            pairs = zip(group.kept, self.standardised(rewards), strict=True)
            advantages += [per_turn(t, discounted(numbers, self.gamma)) for t, numbers in pairs]
        return Advantages(advantages)

    def standardised(self, rewards: Sequence[Array]) -> list[Array]:
        """Return the standardised rewards of a group's turns: [turns] for each trajectory, the outcome last."""
        if self.standardise == "joint":
            return pooled(rewards)
        gains, outcomes = pooled([each[:-1] for each in rewards]), pooled([each[-1:] for each in rewards])
        return [np.append(gain, outcome) for gain, outcome in zip(gains, outcomes, strict=True)]

    def rewards(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reward of each turn from the answers' log-probabilities: [turns + 1, answers] -> [turns]."""
        turns = len(trajectory.actions)
        likely = np.exp(logprobs[:turns].max(1))
        outcome = f1(trajectory.answer, trajectory.question.answers) if self.outcome == "f1" else trajectory.reward
        return np.append(np.diff(likely), [outcome] * (turns > 0))

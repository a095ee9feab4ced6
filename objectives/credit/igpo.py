"""IGPO: a turn deserves what it added to the policy's own probability of the accepted answer.

Information gained is a reward for every turn that needs no judge and no extra rollouts (2510.14967): p_t = exp(mean
log p of the answer after turn t), r_t = p_t - p_(t-1), the last turn has the outcome instead; the rewards of all turns
of a group are standardised together, then summed from each turn on, discounted, and spread over the turn's tokens.

Deviations: with several accepted answers p_t is that of the likeliest one; the answer is scored without its tags;
nothing is discounted unless `gamma` is set. Rewards are pooled per turn and scaled, as the paper has it: its published
code centres per token position, without a scale.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.annotations import answered
from sdsearch.crediting.objections import alone
from sdsearch.crediting.returns import discounted, per_turn
from sdsearch.crediting.turns import pooled
from sdsearch.metrics import f1
from sdsearch.objective import Credit
from sdsearch.probe import Probe
from sdsearch.trajectory import Group, Trajectory


class IGPO(Credit):
    """The discounted sum of standardised rewards from each turn on. Raises `DataError` without an accepted answer."""

    asks: ClassVar[str] = "the gold answer"
    gamma: float = Field(1.0, gt=0, le=1)
    """The discount per turn. The paper discounts, its code does not (1), and neither does this default."""
    outcome: Literal["f1", "reward"] = "f1"
    """What the last turn is worth, an episode without an answer included: the F1 of the answer, or the reward."""

    @property
    def heeds_reward(self) -> bool:
        return self.outcome == "reward"

    def objection(self, experiment: Any) -> str | None:
        return alone(experiment)

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        answered(groups)
        told = iter(probe.answer_logprobs(groups))
        found = []
        for group in groups:
            rewards = pooled([self.rewards(t, next(told)) for t in group.kept])
            pairs = zip(group.kept, rewards, strict=True)
            found += [per_turn(t, discounted(own, self.gamma)) for t, own in pairs]
        return found

    def rewards(self, trajectory: Trajectory, logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reward of each turn from the answers' log-probabilities: [turns + 1, answers] -> [turns]."""
        turns = len(trajectory.actions)
        likely = np.exp(logprobs[:turns].max(1))
        outcome = f1(trajectory.answer, trajectory.question.answers) if self.outcome == "f1" else trajectory.reward
        return np.append(np.diff(likely), [outcome] * (turns > 0))

"""StepSearch: a search is paid for the gold passages that it adds and fined for those that it fetches again.

Searches are judged where they happen, and queries by whether they ask for what a decomposition of the question asks
(2505.15107): the last turn has F1 + key * the F1 of the queries' words, a search step * (gain - repetition).
Deviations: the hops' queries stand for the keywords, each compared with its nearest query; the share of gold passages
that are new stands for TF-IDF similarities, and returns-to-go, standardised over the group's turns, for PPO's critic.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.answers import f1
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.gold import annotated, new_hits
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import discounted, per_turn, pooled
from sdsearch.errors import DataError


class StepSearch(GroupCredit):
    """Standardised returns-to-go on the tokens of each turn. Raises `DataError` without gold passages and hops."""

    asks: ClassVar[str] = "annotations (gold passages, hops)"
    key: float = Field(0.618, ge=0)
    """The factor of the queries' F1, beside the answer's."""
    step: float = Field(0.6, ge=0)
    """The factor of each search's gain less its repetition; the published code pays 1 + step by mistake."""
    unanswered: float = -1.0
    """What the last turn has without an answer, in place of both."""
    gamma: float = Field(1.0, gt=0, le=1)
    """The discount per turn."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        if not group.question.hops:
            raise DataError(f"question {group.question.id!r}: got no hops, expected data with a decomposition: atlas")
        returns = pooled([discounted(self.rewards(t), self.gamma) for t in group.kept])
        return [per_turn(t, numbers) for t, numbers in zip(group.kept, returns, strict=True)]

    def rewards(self, trajectory: Trajectory) -> list[float]:
        """Return the reward of each turn."""
        gold, asked = annotated(trajectory.question), [h.query for h in trajectory.question.hops]
        fresh = zip(trajectory.turns, new_hits(trajectory), strict=True)
        gains = [len(new & gold) / len(gold) - (1 - len(new) / len({*t.hits}) if t.hits else 0.0) for t, new in fresh]
        final = self.unanswered
        if trajectory.answer is not None:
            words = np.mean([max((f1(q, [a]) for q in trajectory.queries), default=0.0) for a in asked])
            final = f1(trajectory.answer, trajectory.question.answers) + self.key * float(words)
        return [self.step * g + final * (i == len(gains) - 1) for i, g in enumerate(gains)]

"""MT-GRPO: the turns up to the first result are paid for that result, in the group's units, beside the outcome.

An outcome alone pays a good search that a bad answer wasted as if it were bad (2505.11821). Outcome and turn rewards
are standardised on their own. "aae": A_outcome + coefficient * A_turn up to the first search result, A_outcome after
it. "cae": the standardised (turn + gamma * outcome) up to there, A_outcome after it. An attempt without a result has no
"up to there": it has one number, in "aae" the standardised sum of both rewards, as the source's code has it.

Deviations: the turn's reward is 1 or 0 by one rule, and the format rewards of the source are left out; without a result
it is 0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.gold import annotated, shows_answer
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import per_turn, standardised


class MTGRPO(GroupCredit):
    """Two numbers per trajectory, before and after its first search result, on the tokens of the turns; or one."""

    asks: ClassVar[str] = "the gold answer or gold passages"
    variant: Literal["aae", "cae"] = "aae"
    """How the turn's reward and the outcome are put together: after each is standardised, or before."""
    reward: Literal["answer", "gold_passage"] = "answer"
    """What the first result has to show: an accepted answer, or a gold passage (`DataError` where none is named)."""
    coefficient: float = Field(1.0, ge=0)
    """The factor of the turn's advantage in "aae"."""
    without_result: Literal["combined", "before"] = "combined"
    """What "aae" gives an attempt that was shown no result: the standardised sum of its rewards, or what stands before
    a result elsewhere, A_outcome + coefficient * A_turn."""
    gamma: float = Field(1.0, gt=0, le=1)
    """The factor of the outcome in "cae"."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        first = [next((i for i, n in enumerate(t.turns) if n.kind == "search"), len(t.turns)) for t in group.kept]
        search_rewards = np.array([self.search_reward(t, i) for t, i in zip(group.kept, first, strict=True)])
        rewards = np.array([t.reward for t in group.kept])
        after = standardised(rewards)
        if self.variant == "aae":
            before = after + self.coefficient * standardised(search_rewards)
            if self.without_result == "combined":
                shown = np.array([len(t.segments) > 2 * i + 2 for t, i in zip(group.kept, first, strict=True)], bool)
                before = np.where(shown, before, standardised(search_rewards + rewards))
        else:
            before = standardised(search_rewards + self.gamma * rewards)
        rows = zip(group.kept, first, before, after, strict=True)
        return [per_turn(t, [b if i <= last else a for i in range(len(t.actions))]) for t, last, b, a in rows]

    def search_reward(self, trajectory: Trajectory, turn: int) -> float:
        """Return the reward of the search in a turn; 0 when there is no such turn."""
        if self.reward == "answer":
            return float(turn < len(trajectory.turns) and shows_answer(trajectory, turn))
        gold = annotated(trajectory.question)
        return float(any(not gold.isdisjoint(t.hits) for t in trajectory.turns[turn : turn + 1]))

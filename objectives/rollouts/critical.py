"""CARL's rollouts: a part of the budget goes on from the states where the policy is least sure what to do.

Where every sample does the same there is nothing to compare; forks are spent on the few actions that decide
(2512.04949): `initial` rollouts, and the other ones of `train.group` fork where the action was least certain.

Deviations: certainty is judged by the mean -log p of the tokens of the action that was taken there; all forks are
chosen at once from the first rollouts, a second one in the same state only when each state has one.
"""

from __future__ import annotations

from itertools import cycle, islice

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.rollouts import Collector, RolloutStrategy
from sdsearch.core.trajectory import Group
from sdsearch.crediting.branching import Place, fill, grow
from sdsearch.crediting.incompatible import too_many
from sdsearch.crediting.per_turn import surprise


class Critical(RolloutStrategy):
    """`train.group` rollouts of each question; each fork tells by `branch` which one it left, and where."""

    initial: int = Field(4, ge=1, le=1000)
    """The paper has 1 or 8 of 16."""

    def objection(self, conditions: Conditions) -> str | None:
        return too_many(self.initial, conditions)

    def collect(self, collector: Collector) -> list[Group]:
        """Return one group per question."""
        groups = collector.collect(collector.questions, min(self.initial, collector.group))
        groups = grow(collector, groups, [self.choose(g, collector.group - len(g.trajectories)) for g in groups])
        return fill(collector, groups, collector.group)

    def choose(self, group: Group, count: int) -> list[Place]:
        """Return the places of so many forks, the least certain first; none where nothing was done."""
        unsure: dict[Place, float] = {}
        for i, t in enumerate(group.trajectories):
            for turn, value in enumerate([] if t.lost else surprise(t)):
                place = (i, turn) if turn else (0, 0)
                if group.trajectories[place[0]].actions and not group.trajectories[place[0]].lost:
                    unsure[place] = max(value, unsure.get(place, value))
        return list(islice(cycle(sorted(unsure, key=lambda p: (-unsure[p], p))), count))

"""DAPO's dynamic sampling: ask on until every group that is learned from holds rollouts that differ in reward.

Where all rollouts of a question earn the same, a group's baseline leaves nothing to learn; as the policy improves such
groups grow in number, and the gradient rests on few (Yu et al., 2503.14476, section 3.2). Each round asks a step's
worth of other questions; mixed groups in excess are dropped, as in verl (whose limit is 10 rounds); all that was played
is counted. Training figures are of the groups that are kept, neither easy nor hopeless ones: judge by evaluations.
"""

from __future__ import annotations

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.rollouts import Collector, RolloutStrategy
from sdsearch.core.trajectory import Group
from sdsearch.crediting.incompatible import alone


class Mixed(RolloutStrategy):
    """As many groups as there are questions, mixed ones first; groups of other questions stand in for those alike."""

    rounds: int = Field(3, ge=1)
    """The most often that a step's worth of questions is asked; what is then missing is filled with groups alike."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def collect(self, collector: Collector) -> list[Group]:
        """Return one group per question of the step, though not always of these questions."""
        wanted = len(collector.questions)
        groups = collector.collect(collector.questions, collector.group)
        for lot in range(1, self.rounds):
            if sum(map(mixed, groups)) >= wanted or not (others := collector.more(lot)):
                break
            groups += collector.collect(others, collector.group)
        # The sort is stable: each kind stays in the order in which it was asked.
        return sorted(groups, key=mixed, reverse=True)[:wanted]


def mixed(group: Group) -> bool:
    """Say whether kept rollouts of a group earned different rewards."""
    return len({t.reward for t in group.kept}) > 1

"""DAPO's dynamic sampling: ask on until every group that is learned from holds rollouts that differ in reward.

Where all rollouts of a question earn the same, a group's baseline leaves nothing to learn; as the policy improves such
groups grow in number, and the gradient rests on few (Yu et al., 2503.14476, section 3.2). Each round asks a step's
worth of other questions; mixed groups in excess are dropped, as in verl (whose limit is 10 rounds); all that was played
is counted. Training figures are of the groups that are kept, neither easy nor hopeless ones: judge by evaluations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sdsearch.crediting.objections import alone
from sdsearch.rollout import Play, Rollouts
from sdsearch.trajectory import Group

if TYPE_CHECKING:
    from sdsearch.spec import Experiment


class Mixed(Rollouts):
    """As many groups as there are questions, mixed ones first; groups of other questions stand in for those alike."""

    rounds: int = Field(3, ge=1)
    """The most often that a step's worth of questions is asked; what is then missing is filled with groups alike."""

    def objection(self, experiment: Experiment) -> str | None:
        return alone(experiment)

    def collect(self, play: Play) -> list[Group]:
        """Return one group per question of the step, though not always of these questions."""
        wanted = len(play.questions)
        found = play.collect(play.questions, play.group)
        for lot in range(1, self.rounds):
            if sum(map(mixed, found)) >= wanted or not (others := play.more(lot)):
                break
            found += play.collect(others, play.group)
        # The sort is stable: each kind stays in the order in which it was asked.
        return sorted(found, key=mixed, reverse=True)[:wanted]


def mixed(group: Group) -> bool:
    """Say whether kept rollouts of a group earned different rewards."""
    return len({t.reward for t in group.kept}) > 1

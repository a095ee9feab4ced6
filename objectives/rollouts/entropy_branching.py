"""ARPO's rollouts: after a search result that made the policy less sure, the turn is played a second time.

Results of tools unsettle a policy, and what it writes right after them is where trying more pays (ARPO, RUC-NLPIR):
of `train.group` rollouts `initial` are played first; a turn after a result is played again with the probability
`base` + `weight` * (its entropy - that of the first turn); what is left of the budget is played from the beginning.

Deviations: entropy is the mean -log p of the `first` tokens sampled in the turn, in nats, not that of the top 10 logits
over log V; turns are branched when the rollouts that hold them have ended, first turns first, and each at most once.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.rollouts import Collector, RolloutStrategy
from sdsearch.core.trajectory import Group
from sdsearch.crediting.branching import Place, fill, grow
from sdsearch.crediting.incompatible import too_many
from sdsearch.crediting.per_turn import surprise


class EntropyBranching(RolloutStrategy):
    """`train.group` rollouts of each question, some of which left others after a search result."""

    initial: int = Field(4, ge=1, le=1000)
    """Rollouts of each question that are played first; the source plays 8 of 16."""
    base: float = Field(0.5, ge=0, le=1)
    """The probability of a branch where the entropy has not changed."""
    weight: float = Field(0.2, ge=0)
    """How much one nat of entropy adds to that probability."""
    first: int = Field(10, ge=1, le=1_000_000)
    """Tokens of a turn that tell how unsure the policy is."""

    def objection(self, conditions: Conditions) -> str | None:
        return too_many(self.initial, conditions)

    def collect(self, collector: Collector) -> list[Group]:
        """Return one group per question."""
        groups = collector.collect(collector.questions, min(self.initial, collector.group))
        turn = 1
        while any(len(t.actions) > turn for g in groups for t in g.trajectories):
            seed = f"entropy/{collector.seed}/{turn}"
            places = [self.choose(g, turn, Random(f"{seed}/{g.question.id}")) for g in groups]
            left = [collector.group - len(g.trajectories) for g in groups]
            groups = grow(collector, groups, [spots[:most] for spots, most in zip(places, left, strict=True)])
            turn += 1
        return fill(collector, groups, collector.group)

    def choose(self, group: Group, turn: int, dice: Random) -> list[Place]:
        """Return the trajectories, each with the turn, that are left at this turn."""
        places = []
        for i, t in enumerate(group.trajectories):
            mine = len(t.actions) > turn and not t.lost and (t.branch is None or t.branch[1] < turn)
            if mine and t.turns[turn - 1].kind == "search":
                unsure = surprise(t, self.first)
                if dice.random() < self.base + self.weight * (unsure[turn] - unsure[0]):
                    places.append((i, turn))
        return places

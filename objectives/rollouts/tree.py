"""Tree-GRPO's rollouts: a few trees per question, grown from random turns, so that leaves share what came before.

Rollouts with a common beginning cost less than independent ones, and what sets two leaves of a tree apart happened
after their fork (Tree-GRPO, ICLR 2026): `trees` first rollouts, then `rounds` times, in each tree, `expand` states are
drawn that are played on from, with replacement, the question among them; `train.group` leaves are kept.

Deviation: leaves beyond `train.group` are not played instead of being dropped, trees take turns.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.rollouts import Collector, RolloutStrategy
from sdsearch.core.trajectory import Group
from sdsearch.crediting.branching import Place, grow, owner


class Tree(RolloutStrategy):
    """`train.group` rollouts of each question in `trees` trees; each tells by `branch` which one it left, and where."""

    trees: int = Field(2, ge=1, le=1000)
    """First rollouts of each question, each the root of a tree."""
    expand: int = Field(2, ge=1, le=1000)
    """States of each tree that are played on from in a round."""
    rounds: int = Field(1, ge=1, le=1000)
    """How often the trees grow."""
    root: bool = True
    """Whether the question is one of the states. Without it the first action is a tree's only one, and states are drawn
    without replacement as long as there are some."""

    def objection(self, conditions: Conditions) -> str | None:
        group, most = conditions.group, self.trees * (1 + self.expand * self.rounds)
        if self.trees <= group <= most:
            return None
        return f"train.group is {group}, and {self.trees} trees have at least {self.trees} leaves and at most {most}"

    def collect(self, collector: Collector) -> list[Group]:
        """Return one group per question."""
        groups = collector.collect(collector.questions, min(self.trees, collector.group))
        for number in range(self.rounds):
            seed = f"tree/{collector.seed}/{number}"
            places = [self.choose(g, Random(f"{seed}/{g.question.id}")) for g in groups]
            left = [collector.group - len(g.trajectories) for g in groups]
            groups = grow(collector, groups, [spots[:most] for spots, most in zip(places, left, strict=True)])
        return groups

    def choose(self, group: Group, dice: Random) -> list[Place]:
        """Return the places that a round grows from: one of each tree, then another, and so on."""
        drawn = []
        for root in range(self.trees):
            mine = [(i, t) for i, t in enumerate(group.trajectories) if owner(group, (i, 0))[0] == root and not t.lost]
            begun = [(i, 0) for i, t in mine[:1] if t.actions]
            inner = sorted({owner(group, (i, n)) for i, t in mine for n in range(1, len(t.actions))})
            places = [*begun, *inner] if self.root else inner or begun
            if places:
                first = [] if self.root else dice.sample(places, min(self.expand, len(places)))
                drawn.append([*first, *dice.choices(places, k=self.expand - len(first))])
        return [picks[n] for n in range(self.expand) for picks in drawn]

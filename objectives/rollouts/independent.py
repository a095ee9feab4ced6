"""Every rollout of a question is played from its beginning, alone."""

from __future__ import annotations

from sdsearch.rollout import Play, Rollouts
from sdsearch.trajectory import Group


class Independent(Rollouts):
    """`train.group` rollouts of each question."""

    def collect(self, play: Play) -> list[Group]:
        """Return one group per question."""
        return play.collect(play.questions, play.group)

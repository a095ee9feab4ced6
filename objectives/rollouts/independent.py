"""Every rollout of a question is played from its beginning, alone."""

from __future__ import annotations

from sdsearch.contracts.rollouts import Collector, RolloutStrategy
from sdsearch.core.trajectory import Group


class Independent(RolloutStrategy):
    """`train.group` rollouts of each question."""

    def collect(self, collector: Collector) -> list[Group]:
        """Return one group per question."""
        return collector.collect(collector.questions, collector.group)

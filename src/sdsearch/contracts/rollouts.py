"""How a step's rollouts come about, and what a strategy may ask of whoever plays them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from sdsearch.config.component import Component
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Fork, Group


class Collector(Protocol):
    """One step's chance to play: whoever collects rollouts or continues them asks this, and it counts them."""

    @property
    def questions(self) -> Sequence[Question]:
        """Those of the step."""

    @property
    def group(self) -> int:
        """Rollouts per question."""

    @property
    def seed(self) -> int:
        """Of the step: another one for each run and step, the same in each process."""

    def more(self, lot: int) -> list[Question]:
        """Return other questions, as many as the step has, another lot for each number from 1."""

    def collect(self, questions: Sequence[Question], group: int) -> list[Group]:
        """Play `group` episodes of each question and return one group per question, in order."""

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play each fork to its end `k` times and return one group of `k` whole trajectories per fork."""


class RolloutStrategy(Component):
    """How a step's rollouts come about."""

    family: ClassVar[str] = "rollouts"

    @abstractmethod
    def collect(self, collector: Collector) -> list[Group]:
        """Return as many groups as there are `collector.questions`, at least one trajectory in each.

        A group is of one question: one of these, or one that `collector.more` gave.
        """

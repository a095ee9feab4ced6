"""How much each sampled token deserves, and what a credit may ask beyond rollouts and rewards.

advantage_t = sum_i w_i * advantage_i(group)_t, where "never credited" (NaN) is not zero
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdsearch.config.component import Component
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.trajectory import Fork, Group

Numbers = list[NDArray[np.float64]]
"""One array for each kept trajectory of some groups, group after group."""


class Advantages(NamedTuple):
    """What a credit says of the groups of a step."""

    values: Numbers
    """One array per kept trajectory, shape [sampled tokens]; NaN: never credited, which is not zero."""
    targets: Numbers | None = None
    """What a critic should learn from this step: the value of the state before each sampled token, in the same shapes;
    NaN: no target. None from a credit without a critic."""

    def times(self, weight: float) -> Advantages:
        """Return the values times a weight; targets are what they are."""
        return self._replace(values=[weight * part for part in self.values])


class Probe:
    """What a credit may ask. This one answers nothing: it stands where only rollouts and rewards are at hand."""

    step: int = 0
    """The step, counted from 0: from the beginning of its phase, in a run that has phases."""
    seed: int = 0
    """Of this step."""

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """Return the log-probability of each sampled token of each kept trajectory, shape [sampled].

        `hints` (`Hint.placed`), one per kept trajectory, stand beside the prompts; where one is None they are NaN.
        """
        raise self._silent("log-probabilities")

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """Return how likely the accepted answers are at each turn of each kept trajectory, [turns + 1, answers].

        Row t is of an answer given in place of turn t, the last row of one given after all turns, which is NaN where
        the last turn was an answer. A number is the mean log-probability of an answer's tokens, tags left out.
        """
        raise self._silent("log-probabilities of answers")

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play each fork to its end `k` times; see `sdsearch.rollout.collect.continue_from`."""
        raise self._silent("continuations")

    def values(self, groups: Sequence[Group]) -> Numbers:
        """Return the critic's value of the state before each sampled token, and of the last one: [sampled + 1]."""
        raise self._silent("values")

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has, in their order: for statistics over the whole step."""
        return [value]

    def _silent(self, what: str) -> ValueError:
        return ValueError(f"got a question for {what} where no model answers, expected a training step or a run")


class Credit(Component):
    """Says how much each sampled token deserves. `GroupCredit` is the common case: each group by itself."""

    family: ClassVar[str] = "credit"
    asks: ClassVar[str] = ""
    """What it has to have beyond rollouts, their outcome, and what `needs` and hints name; for reports."""

    weight: float = 1.0
    """The factor of this credit in the sum over the credits of a spec; negative turns it round."""

    @property
    def needs(self) -> frozenset[str]:
        """The weights beside the policy's own that it asks the probe about: teachers of `Teacher`, "critic"."""
        return frozenset()

    @property
    def heeds_reward(self) -> bool:
        """Whether it goes by the `reward` of the trajectories it is given: with other rewards it credits otherwise."""
        return True

    @abstractmethod
    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        """Return what all groups of a step deserve, before `weight`; rewards of kept trajectories are finite."""

    def weighted(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        """Return the advantages times `weight`: what a credit that is made of this one builds on."""
        return self.advantages(groups, probe).times(self.weight)


class GroupCredit(Credit):
    """A credit that looks at one group at a time and asks nothing beyond rollouts and rewards."""

    @abstractmethod
    def of_group(self, group: Group) -> Numbers:
        """Return one array per trajectory of `group.kept`, shape [sampled tokens]; NaN: never credited.

        `group.kept` is not empty.
        """

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        """Return what each group deserves by itself."""
        return Advantages([part for group in groups if group.kept for part in self.of_group(group)])

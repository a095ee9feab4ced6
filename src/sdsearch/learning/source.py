"""Where a step's groups come from: the agent plays them, or they are read back from a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple, Protocol

from sdsearch.contracts.engine import Codec
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.core.trajectory import Group, kept
from sdsearch.core.usage import Clock
from sdsearch.errors import DataError, DivergedError
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.runs.stored_run import StoredRun
from sdsearch.spec import Source as Settings

Collect = Callable[[int], EpisodeCollector]
"""Returns what plays the questions of a step, counted from 0."""


class Batch(NamedTuple):
    """What a step learns from, as one process has it."""

    groups: list[Group]
    """Its share of the groups."""
    collector: EpisodeCollector
    """What played them and can go on from them; it has counted what that cost."""
    dropped: Sequence[Group] = ()
    """Groups that were played and did not pass the filter."""

    @property
    def clock(self) -> Clock:
        """Where the time goes."""
        return self.collector.clock


class Source(Protocol):
    """Gives the groups of one step after the other."""

    sampled: bool
    """Whether they were sampled by the very policy that learns from them."""

    def batch(self, number: int) -> Batch:
        """Return the groups of a step, counted from 0."""


class Played:
    """The agent plays the step's questions, as the spec's rollout strategy says."""

    sampled = True

    def __init__(self, settings: Settings, strategy: RolloutStrategy, collect: Collect) -> None:
        """Take who plays, and how."""
        self.settings, self.strategy, self.collect = settings, strategy, collect

    def batch(self, number: int) -> Batch:
        """Play; with `filter: mixed` other questions too, until there are enough mixed groups or rounds are over.

        Raises `DivergedError` when the policy's probabilities are no numbers.
        """
        collector = self.collect(number)
        wanted = len(collector.questions)
        groups = [*self.strategy.collect(collector)]
        for lot in range(1, self.settings.rounds if self.settings.filter == "mixed" else 1):
            if sum(group.mixed for group in groups) >= wanted or not (others := collector.more(lot)):
                break
            collector.questions = others
            groups += self.strategy.collect(collector)
        if self.settings.filter == "mixed":
            # The sort is stable: each kind stays in the order in which it was asked.
            groups.sort(key=lambda group: group.mixed, reverse=True)
        if not all(isfinite(p) for t in kept(groups) for action in t.actions for p in action.logprobs):
            raise DivergedError("the policy gives log-probabilities that are not finite")
        return Batch(groups[:wanted], collector, groups[wanted:])


class Stored:
    """Groups of a run, in the order in which they were recorded; after the last the first again."""

    sampled = False

    def __init__(
        self,
        settings: Settings,
        run: StoredRun,
        first: int,
        count: int,
        collect: Collect,
        share: Callable[[list[Place]], list[Place]],
        codec: Codec,
    ) -> None:
        """Read back `count` groups a step from `run`, beginning with step `first` of the run that learns, from 0.

        Where the settings name no run, `run` is that very one, and what it recorded before `first` is read. `share`
        returns what this process takes, `codec` is the learner's. Raises `DataError` for a run without groups to learn
        from, or with those of another tokeniser.
        """
        self.settings, self.run, self.first, self.count = settings, run, first, count
        self.collect, self.share, self.codec = collect, share, codec
        self.places: list[Place] = []
        if settings.run is not None:
            self.look()

    def look(self) -> None:
        """Find each group that passes the filter."""
        steps = [step for step in self.run.steps if self.settings.run or step <= self.first]
        for step in steps:
            groups = self.run.groups(step)
            legible(f"{self.run.folder}, step {step}", groups[0], self.codec)
            passed = [i for i, g in enumerate(groups) if g.kept and (self.settings.filter == "none" or g.mixed)]
            self.places += [Place(step, i) for i in passed]
        if not self.places:
            mixed = "group that passes `filter: mixed` (it can be left out)"
            what = mixed if steps else "trajectories of training steps"
            raise DataError(f"train.source: {self.run.folder} holds no {what}, expected some to learn from")

    def batch(self, number: int) -> Batch:
        """Read a step's groups."""
        if not self.places:
            self.look()
        start = (number - self.first) * self.count
        wanted = self.share([self.places[(start + i) % len(self.places)] for i in range(self.count)])
        steps = {step: self.run.groups(step) for step in dict.fromkeys(place.step for place in wanted)}
        groups = [steps[step][index] for step, index in wanted]
        collector = self.collect(number)
        collector.questions = [group.question for group in groups]
        return Batch(groups, collector)


class Place(NamedTuple):
    """Where a recorded group is."""

    step: int
    group: int


def legible(place: str, group: Group, codec: Codec) -> None:
    """Raise `DataError` unless a group's tokens are those that this tokeniser would have written and read."""
    for trajectory in group.trajectories:
        context: tuple[int, ...] = ()
        for segment in trajectory.segments:
            where = f"{place}: question {group.question.id!r}"
            if segment.text and not segment.tokens:
                raise DataError(f"{where}: got a {segment.role} without tokens, expected what a policy has recorded")
            if segment.role == "model":
                same = reads(segment.tokens, codec) == segment.text
            else:
                opens = segment.role == "prompt"
                wrote = codec.prompt(segment.text) if opens else codec.observation(segment.text, context)
                same = wrote == segment.tokens
            context = segment.tokens
            if not same:
                raise DataError(
                    f"{where}: the tokens of a {segment.role} are not those of `model`: its tokeniser or its chat "
                    "template is another one; name the model that the groups were sampled from, or play them anew"
                )


def reads(tokens: Sequence[int], codec: Codec) -> str | None:
    """Return what tokens read as, or None where they are not of this vocabulary."""
    try:
        return codec.decode(tokens)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None

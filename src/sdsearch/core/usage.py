"""What a run costs: seconds by part, and rollouts, tokens and seconds in all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from sdsearch.core.trajectory import Group


@dataclass
class Clock:
    """Seconds spent in each part of a run."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, part: str, since: float) -> None:
        """Add the time since `since` (of `time.perf_counter`) to a part."""
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - since

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time that a block takes to a part."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self.time(part, since)

    @contextmanager
    def around(self, part: str) -> Iterator[None]:
        """Add the time that a block takes to a part, less what it adds to others meanwhile."""
        others, since = sum(self.seconds.values()), time.perf_counter()
        try:
            yield
        finally:
            self.time(part, since + sum(self.seconds.values()) - others)


@dataclass
class Usage:
    """What a run has cost so far: episodes that were begun or gone on with, tokens that were sampled, seconds."""

    rollouts: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, groups: Sequence[Group], turns: Sequence[int] | None = None) -> None:
        """Count groups; `turns`, one per group, is where they went on from what was there before."""
        for i, group in enumerate(groups):
            first = turns[i] if turns else 0
            self.rollouts += len(group.trajectories)
            self.tokens += sum(len(a.logprobs) for t in group.trajectories for a in t.actions[first:])

    def plus(self, others: Sequence[Usage]) -> Usage:
        """Return the sum of this and what several processes spent at the same time: seconds are the longest."""
        return Usage(
            self.rollouts + sum(o.rollouts for o in others),
            self.tokens + sum(o.tokens for o in others),
            self.seconds + max((o.seconds for o in others), default=0.0),
        )

    def record(self) -> dict[str, float]:
        """Return it for the log."""
        return asdict(self)

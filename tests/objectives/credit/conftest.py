"""Episodes and a probe for credits that look at whole steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn

Episode = tuple[Sequence[int], float]
Groups = Callable[..., list[Group]]


@pytest.fixture
def groups_of() -> Groups:
    """Return a builder of groups, one per argument: lists of episodes, each the lengths of its turns and its reward."""

    def episode(question: Question, lengths: Sequence[int], reward: float, stop: str) -> Trajectory:
        segments = [Segment("prompt", "p", (1,))]
        for n in lengths:
            segments += [
                Segment("model", "", (2,) * n, (-0.5,) * n, (Span.THINK,) * n),
                Segment("observation", "", (3,)),
            ]
        turns = tuple(Turn("search", "") for _ in lengths)
        return Trajectory(question, tuple(segments[: max(1, len(segments) - 1)]), turns, stop, reward)

    def build(*groups: Sequence[Episode], stop: str = "answered") -> list[Group]:
        questions = [Question(f"q{i}", "Where?", ("here",)) for i in range(len(groups))]
        return [
            Group(q, tuple(episode(q, *e, stop) for e in group)) for q, group in zip(questions, groups, strict=True)
        ]

    return build


class Told(Probe):
    """Answers with the numbers that it was made with, and keeps what a critic is to learn."""

    def __init__(self, numbers: Sequence[Sequence[float]] = (), others: Sequence[Any] = (), seed: int = 0) -> None:
        self.numbers = [np.array(n, np.float64) for n in numbers]
        self.others, self.seed = others, seed

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        assert (hints, teacher) == (None, "frozen")
        return self.numbers

    def values(self, groups: Sequence[Group]) -> Numbers:
        return self.numbers

    def gather(self, value: Any) -> list[Any]:
        return [value, *self.others]


@pytest.fixture
def told() -> type[Told]:
    """Return the class of such probes."""
    return Told

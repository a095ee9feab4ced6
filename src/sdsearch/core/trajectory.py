"""What happened, token by token: segments, trajectories and groups, and their JSONL form.

A token was sampled exactly when it has a log-probability: no separate mask can disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from sdsearch.core.question import STRICT, Question
from sdsearch.errors import DataError

Role = Literal["prompt", "model", "observation"]
OUTAGES = ("retriever_unavailable", "model_unavailable")
"""Why an outage ended an episode, by what failed."""
FinishReason = Literal["", "stop", "end", "length"]
"""Why a turn ended: a stop string, the end token, or no room for more tokens."""


class Span(IntEnum):
    """What a sampled token is part of. A token that straddles a tag boundary is MARKUP."""

    THINK = 0
    QUERY = 1
    ANSWER = 2
    MARKUP = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """What one side added to the context. Only a `model` segment has `logprobs` and `spans`, one per token.

    A scripted agent's segments have text and no tokens.
    """

    __pydantic_config__ = STRICT

    role: Role
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        expected = len(self.tokens) if self.role == "model" else 0
        if len(self.logprobs) != expected or len(self.spans) != expected:
            raise ValueError(
                f"a {self.role} segment of {len(self.tokens)} tokens needs {expected} log-probabilities and spans, "
                f"got {len(self.logprobs)} and {len(self.spans)}"
            )


@dataclass(frozen=True, slots=True)
class Turn:
    """One action and what came of it."""

    __pydantic_config__ = STRICT

    kind: str
    text: str
    hits: tuple[str, ...] = ()
    """The ids of the passages that a search returned, best first."""
    titles: tuple[str, ...] = ()
    """Their titles; none where they were not recorded."""
    scores: tuple[float, ...] = ()
    """Their scores; none where they were not recorded."""
    finish_reason: FinishReason = ""
    """Why the sampler stopped; "" for an agent that does not sample."""
    version: int = 0
    """The version of the policy that sampled it: how many updates it had taken."""


@dataclass(frozen=True, slots=True, repr=False)
class Trajectory:
    """One finished episode. Turn `t` is the t-th `model` segment.

    `stop_reason` is "answered", "max_turns", "context_full", "invalid", or one of `OUTAGES`.
    """

    __pydantic_config__ = STRICT

    question: Question
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]
    stop_reason: str
    reward: float
    metrics: dict[str, float] = field(default_factory=dict)
    outage: str = ""
    """Why an outage ended the episode: for people, it may name machines."""
    branch: tuple[int, int] | None = None
    """Where it left another one: that one's index in the group and the turn; all before the turn is the same."""

    def __repr__(self) -> str:
        turns = ", ".join(f"{turn.kind} {turn.text[:30]!r}" for turn in self.turns)
        return f"Trajectory({self.question.id!r}, [{turns}], {self.stop_reason}, reward {self.reward:g})"

    @property
    def lost(self) -> bool:
        """An outage ended the episode: it takes no part in credit, baseline or loss."""
        return self.stop_reason in OUTAGES

    @property
    def answer(self) -> str | None:
        """The text of the answer action, if there was one."""
        return next((t.text for t in self.turns if t.kind == "answer"), None)

    @property
    def queries(self) -> tuple[str, ...]:
        """The search queries, in order."""
        return tuple(t.text for t in self.turns if t.kind == "search")

    @property
    def tokens(self) -> tuple[int, ...]:
        """Exactly what the model saw and wrote, in order."""
        return tuple(t for s in self.segments for t in s.tokens)

    @property
    def actions(self) -> tuple[Segment, ...]:
        """The model's segments: one per turn."""
        return tuple(s for s in self.segments if s.role == "model")

    def before(self, turn: int) -> tuple[Segment, ...]:
        """Return all that the model had seen and written before turn `turn`; the last one is what it answered then.

        Raises `ValueError` when the episode has no such turn.
        """
        if not 0 <= turn < len(self.actions):
            raise ValueError(f"question {self.question.id}: got turn {turn}, expected one of {len(self.actions)} turns")
        return self.segments[: 2 * turn + 1]

    @property
    def sampled(self) -> int:
        """How many tokens were sampled."""
        return sum(len(s.logprobs) for s in self.segments)


class Fork(NamedTuple):
    """A place to go on from: a recorded episode, before its turn `turn`. Turn 0 is the bare question."""

    trajectory: Trajectory
    turn: int


@dataclass(frozen=True, slots=True, repr=False)
class Group:
    """The trajectories of one question, sampled by one policy."""

    __pydantic_config__ = STRICT

    question: Question
    trajectories: tuple[Trajectory, ...]

    def __repr__(self) -> str:
        rewards = " ".join("lost" if t.lost else f"{t.reward:g}" for t in self.trajectories)
        return f"Group({self.question.id!r}, {len(self.trajectories)} trajectories, rewards {rewards or 'none'})"

    @property
    def kept(self) -> tuple[Trajectory, ...]:
        """Those that an outage did not end."""
        return tuple(t for t in self.trajectories if not t.lost)

    @property
    def mixed(self) -> bool:
        """Whether kept trajectories earned different rewards: only then can they be told apart by them."""
        return len({t.reward for t in self.kept}) > 1


def kept(groups: Sequence[Group]) -> list[Trajectory]:
    """Return the kept trajectories, group after group: the order of a step's advantages."""
    return [t for g in groups for t in g.kept]


def write_groups(path: Path, groups: Iterable[Group]) -> None:
    """Write groups as JSON lines, one group a line; floats keep every bit."""
    with path.open("w", encoding="utf-8") as file:
        for group in groups:
            file.write(json.dumps(_groups().dump_python(group), ensure_ascii=False) + "\n")


def read_groups(path: Path) -> Iterator[Group]:
    """Read what `write_groups` wrote; fields that have a default may be missing.

    Raises `DataError` with file and line for anything else.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield _groups().validate_json(line, strict=True)
            except (ValueError, TypeError, RecursionError) as error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, ValidationError):
                    problem = error.errors(include_url=False, include_input=False)[0]
                    why = ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
                raise DataError(f"{path}:{number}: not a group of trajectories: {why}") from error


@cache
def _groups() -> TypeAdapter[Group]:
    return TypeAdapter(Group)

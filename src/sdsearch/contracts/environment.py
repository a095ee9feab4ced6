"""What an agent acts in: an environment and what it opens; the grammar between both, and the reward of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sdsearch.config.component import Component, Settings
from sdsearch.core.question import Hit, Passage, Question
from sdsearch.core.trajectory import Segment, Trajectory
from sdsearch.errors import ComponentError

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/"))
"""The tags of protocols in the manner of Search-R1."""


class Reward(Component):
    """Scores the answer of an episode: it sees the answer action and the accepted answers, never a transcript."""

    family: ClassVar[str] = "reward"

    @abstractmethod
    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        """Return the reward for `answer`; None means that the episode ended without one."""


class Action(NamedTuple):
    """What the agent did. `kind` is "search", "answer" or "invalid"; `text` is the query, the answer or the fault."""

    kind: str
    text: str


class TextSpan(NamedTuple):
    """Characters [start, end) of a model's text and what they are: "think", "query", "answer" or "markup"."""

    kind: str
    start: int
    end: int


class Found(Settings):
    """A passage of an example."""

    title: str = ""
    text: str


class Step(Settings):
    """One action of an example: a search and what it found, or an answer."""

    think: str = ""
    """What is thought before it."""
    search: str | None = None
    """The query."""
    found: list[Found] = Field(default_factory=list)
    """What the search found; an empty list: nothing."""
    answer: str | None = None
    """The answer, which ends the example."""


class Example(Settings):
    """An episode that a model is shown before its own."""

    question: str
    steps: list[Step] = Field(min_length=1)
    """Its actions; the last one is the answer, and the only one."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        *searches, last = self.steps
        if last.answer is None or last.search is not None or last.found:
            raise ValueError("the last step of an example is an answer and nothing else: expected `answer`")
        if any(step.search is None or step.answer is not None for step in searches):
            raise ValueError("every step of an example but the last is a search: expected `search`, and no `answer`")
        return self


class Preamble(NamedTuple):
    """What stands before the prompt of every episode, in its context."""

    system: str = ""
    """What a chat model is told as the system's message."""
    segments: tuple[Segment, ...] = ()
    """Whole episodes, one after the other, as they would be recorded; without tokens."""

    @property
    def text(self) -> str:
        """All of it as one text, for a model that knows no turns."""
        parts = [f"{self.system.rstrip()}\n\n"] if self.system.strip() else []
        for segment, after in zip_longest(self.segments, self.segments[1:]):
            over = segment.role == "model" and (after is None or after.role == "prompt")
            parts.append(segment.text.rstrip() + "\n\n" if over else segment.text)
        return "".join(parts)


BARE = Preamble()
"""Nothing."""


class Grammar(Component):
    """The grammar between agent and environment: how the prompt, the actions and the observations are written."""

    family: ClassVar[str] = "protocol"
    default: ClassVar[str] = "search_r1"

    system: str = ""
    """What stands before everything: a chat model's system message, else the beginning of its text."""
    examples: list[Example] = Field(default_factory=list)
    """Episodes that stand before that of the question: turns of a chat model, else text, as it would write it."""

    @model_validator(mode="after")
    def _writable(self) -> Self:
        _ = self.preamble
        return self

    @property
    def preamble(self) -> Preamble:
        """What stands before a prompt. Raises `ValueError` for an example that cannot be written in this grammar."""
        segments = list[Segment]()
        for number, example in enumerate(self.examples):
            segments.append(Segment("prompt", self.prompt(Question(f"example {number}", example.question, ()))))
            for step in example.steps:
                kind = "answer" if step.search is None else "search"
                text = step.answer if step.search is None else step.search
                segments.append(Segment("model", self.write(kind, text or "", step.think)))
                if kind == "search":
                    hits = [Hit(Passage(f"example {i}", p.title, p.text), 0.0) for i, p in enumerate(step.found)]
                    segments.append(Segment("observation", self.render_hits(hits)))
        return Preamble(self.system, tuple(segments))

    @property
    @abstractmethod
    def stop(self) -> tuple[str, ...]:
        """The strings that end an action; generation stops there."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What may be tokens of their own: by default the tags of Search-R1, and what begins and ends an action.

        No other text that was added to a tokeniser's vocabulary is ever shown to a model as the token that it spells.
        """
        return tuple(dict.fromkeys((*TAGS, *self.stop, *(end.replace("</", "<", 1) for end in self.stop))))

    @property
    def searches_first(self) -> bool:
        """Whether the question itself is searched for, and what is found stands before the prompt."""
        return False

    @abstractmethod
    def prompt(self, question: Question) -> str:
        """Return the text that opens the episode."""

    @abstractmethod
    def parse(self, text: str) -> Action:
        """Return the first action in the text that a model wrote in one turn, whatever the text is.

        Of an invalid action the text is the fault; that of a search for nothing is "empty search".
        """

    @abstractmethod
    def spans(self, text: str) -> list[TextSpan]:
        """Cut one turn's text into spans that cover it without gap or overlap."""

    @abstractmethod
    def render_hits(self, hits: Sequence[Hit]) -> str:
        """Return the observation for hits (an empty sequence: nothing found), with protocol tags neutralised."""

    @abstractmethod
    def render_invalid(self) -> str:
        """Return the observation that follows an invalid action."""

    @abstractmethod
    def write(self, kind: str, text: str, think: str = "") -> str:
        """Return the text of an action, as a scripted agent would write it: the inverse of `parse`."""


class TextVectorEnv(Protocol):
    """Many episodes at once: what Gymnasium asks of a `VectorEnv`, with texts, and three methods beyond.

    Observations and actions are texts, one per episode; an episode that has ended shows "" and ignores its action.
    There is no automatic reset. In the step in which an episode ends, its info has what `FINAL` names. Where an outage
    is met while an episode begins, its first info tells that as `outage`, and its first action ends it.
    """

    num_envs: int

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Sequence[str], dict[str, Any]]:
        """Begin all episodes: about `options["questions"]`, or from the seeds in `seed`, one for each."""

    def step(
        self, actions: Sequence[str]
    ) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take one action in each episode; return texts, rewards, terminations, truncations and infos."""

    def save(self, row: int) -> Any:
        """Return all that `restore` needs to go on with an episode, ready for JSON."""

    def restore(self, row: int, state: Any) -> str:
        """Put an episode at a state, which may be that of another one, and return what it was shown last."""

    def end(self, row: int, reason: str) -> None:
        """End an episode from outside, such as for "context_full"; the next `step` pays and reports it."""

    def close(self) -> None:
        """Release what this environment alone holds, such as processes; called when its episodes are played."""


FINAL = ("turns", "stop_reason", "outage", "metrics")
"""What the info of an episode says at its end: its `Turn`s, one for each action (one of the kind "answer" holds the
answer); why it ended; what went wrong, or ""; and figures by name. Where it ended as one of
`sdsearch.core.trajectory.OUTAGES`, nothing is learned from it."""


class EnvFactory(ABC):
    """An opened environment: what is loaded once and serves every batch of episodes."""

    @abstractmethod
    def __call__(self, num_envs: int) -> TextVectorEnv:
        """Return an environment of so many episodes."""

    @property
    def fingerprint(self) -> str | None:
        """Names what the episodes are made from, beside their questions: a run goes on with no other. None: nothing."""
        return None

    def counters(self) -> Mapping[str, float]:
        """Return what was counted since the last call, for the log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep."""
        return {}

    def load_state_dict(self, state: Any) -> None:  # noqa: B027
        """Take it from a checkpoint."""

    def state_at(self, trajectory: Trajectory, turn: int) -> Any:
        """Return the state in which a recorded episode was before a turn, as `TextVectorEnv.restore` takes it.

        Needed where episodes are gone on with: by rollouts that branch, credits that play on, and fidelity.
        Raises `ValueError` when the episode has no such turn.
        """
        raise ComponentError(
            f"{type(self).__module__}:{type(self).__qualname__} cannot go on from recorded episodes: expected "
            "`state_at(trajectory, turn)`, which branching rollouts and credits that play on need"
        )


class Environment(Component):
    """What the agent acts in."""

    family: ClassVar[str] = "environment"
    default: ClassVar[str] = "search"

    max_turns: int = Field(5, ge=1, le=1000)
    """The number of actions in an episode, the answer included."""

    @property
    @abstractmethod
    def grammar(self) -> Grammar:
        """How actions are written: where they stop, and what their parts are."""

    @property
    def seeds(self) -> int | None:
        """How many episodes there are to begin, from the seeds 0, 1, ...; None: episodes are about questions."""
        return None

    @abstractmethod
    def open(self) -> EnvFactory:
        """Load what is needed and return what makes the environments."""

"""What the environment is made of: the grammar between agent and environment, and the reward of an answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from sdsearch.config.component import Component
from sdsearch.core.question import Hit, Question


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


class Grammar(Component):
    """The grammar between agent and environment: how the prompt, the actions and the observations are written."""

    family: ClassVar[str] = "protocol"

    @property
    @abstractmethod
    def stop(self) -> tuple[str, ...]:
        """The strings that end an action; generation stops there."""

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

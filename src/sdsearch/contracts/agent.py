"""Who acts: an agent in a spec, and the session that it opens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

from sdsearch.config.component import Component
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment


class Reply(NamedTuple):
    """One answer of an agent: the text it was given, tokenised, and the action it took (None: no room left)."""

    context: Segment
    action: Segment | None


class AgentSession(Protocol):
    """An opened agent: plays many episodes at once."""

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin one episode per question; row `i` of later calls is `questions[i]`.

        Greedy: always take the likeliest action, where the agent knows it.
        """

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`; `texts[j]` is what row `rows[j]` was shown since its last action."""

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Act once in each of `rows`, in the middle of episodes that were played before; `act` goes on from there.

        `pasts[j]` holds the segments of row `rows[j]` as they were recorded (their tokens are taken as they are), and
        ends with a prompt or an observation: that is the context of the reply. Call it once, right after `reset`.
        """


class Agent(Component):
    """A policy that acts in the environment."""

    family: ClassVar[str] = "agent"

    @abstractmethod
    def open(self, protocol: Grammar) -> AgentSession:
        """Load what is needed and return the session."""

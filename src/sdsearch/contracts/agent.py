"""Who acts: an agent in a spec, and the session that it opens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

from sdsearch.config.component import Component
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import FinishReason, Segment


class Reply(NamedTuple):
    """One answer of an agent."""

    context: Segment
    """The text that it was given, tokenised."""
    action: Segment | None
    """What it did; None: no room was left, or see `outage`."""
    finish_reason: FinishReason = ""
    """Why the sampler stopped; "" for an agent that does not sample."""
    version: int = 0
    """The version of the policy that sampled."""
    outage: str = ""
    """Why it could not act: for people, it may name machines. The episode ends as "model_unavailable"."""
    figures: Mapping[str, float] = MappingProxyType({})
    """What the turn cost, by name; summed over its turns, it stands in the metrics of the episode."""


class AgentSession(Protocol):
    """An opened agent: plays many episodes at once."""

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question; row `i` of later calls is `questions[i]`, and draws from `seeds[i]` alone.

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
    trainable: ClassVar[bool] = False
    """Whether it acts with the spec's `model`, which is then loaded for it and can be trained."""

    @abstractmethod
    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> AgentSession:
        """Return the session; a trainable agent is given the model that it acts with."""

"""What samples from a language model, and what turns its text into tokens and back. Weights are not known here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from sdsearch.config.component import Component
from sdsearch.contracts.environment import Grammar
from sdsearch.core.trajectory import Span


class Codec(Protocol):
    """Text to tokens, once, and tokens to text: a tokeniser and the rules for opening a context. It has no weights."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise text that continues a context: nothing is put round it, and no text becomes a special token."""

    def prompt(self, text: str) -> tuple[int, ...]:
        """Tokenise the text that opens a context."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens exactly, special tokens included."""

    def spans(self, tokens: Sequence[int], grammar: Grammar) -> tuple[Span, ...]:
        """Say what each sampled token of one turn is part of."""


class Completion(NamedTuple):
    """What was sampled in one turn: token ids and their log-probabilities, one each."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Sampler(Protocol):
    """An opened engine: continues many contexts at once."""

    def reset(self, seed: int, greedy: bool = False) -> None:
        """Forget all contexts and seed the sampling; greedy: take the likeliest token instead."""

    def sample(self, rows: Sequence[int], added: Sequence[Sequence[int]], room: Sequence[int]) -> list[Completion]:
        """Add tokens to the contexts `rows`, then sample in each until a stop string, the end token or `room` tokens.

        Contexts left out of `rows` are finished and are dropped for good.
        """


class Engine(Component):
    """Samples from a policy."""

    family: ClassVar[str] = "engine"

    @abstractmethod
    def open(self, policy: Any, stop: Sequence[str]) -> Sampler:
        """Return a sampler that ends a turn once its text holds one of the strings `stop`.

        `policy` is the model of this process, a `sdsearch.policy.policy.Policy`.
        """

"""The model that acts: which one, how it samples, what turns its text into tokens, and what samples from it.

Weights are not known here: a learner owns them, and an engine is given them, or opens its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from sdsearch.config.component import Component, Settings
from sdsearch.config.scalars import NameOrPath
from sdsearch.contracts.environment import Grammar
from sdsearch.core.trajectory import FinishReason, Span

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Model(Settings):
    """A causal language model of the transformers library."""

    name: NameOrPath = "seed-policy"
    """A name of the hub, of the package's own weights, or of an installed package that holds `gguf_file`; or a folder,
    which begins with `/`, `./`, `../` or `~`."""
    gguf_file: str | None = None
    """The GGUF file inside `name`, for weights in that form."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights while sampling and training."""
    device: str = "auto"
    """Where the weights go; "auto" takes an accelerator if there is one."""
    chat: bool = False
    """Put the prompt through the tokeniser's chat template, once, as the user's message, after those of the protocol's
    system and examples. A template that would write
    earlier turns otherwise later on is refused."""
    observations: Literal["user", "tool", "text"] = "user"
    """What a chat model is shown after an action as: the user's next message or a tool's, where its template only
    appends them, or text in the model's own message (Search-R1). Without `chat` it is text."""
    trust_remote_code: bool = False
    """Run code that comes with a model from the hub."""


class Codec(Protocol):
    """Text to tokens, once, and tokens to text: a tokeniser and the rules for opening a context. It has no weights."""

    @property
    def fingerprint(self) -> str:
        """Names all that decides which tokens a text becomes: equal ones write and read the same tokens."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise text that continues a context: nothing is put round it, and no text becomes a special token."""

    def prompt(self, text: str) -> tuple[int, ...]:
        """Tokenise the text that opens a context."""

    def observation(self, text: str, context: Sequence[int]) -> tuple[int, ...]:
        """Tokenise what is shown after an action, with which the context ends."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens exactly, special tokens included."""

    def spans(self, tokens: Sequence[int], grammar: Grammar) -> tuple[Span, ...]:
        """Say what each sampled token of one turn is part of."""


class Weights(Protocol):
    """A policy as an engine of this process may sample from it, or copy it from; `sdsearch.policy.policy.Policy`."""

    model: Any
    """The module, of the transformers library."""
    codec: Any
    """Its `Codec`, which has the `tokenizer`."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def hidden(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Any = None) -> Tensor:
        """Run the decoder: [B, S] -> [B, S, H]."""

    def project(self, hidden: Tensor) -> Tensor:
        """Return float32 logits at the sampling temperature: [N, H] -> [N, V]."""


class Prompt(NamedTuple):
    """What one turn is sampled after."""

    row: int
    """Names the episode: a later prompt of the same row begins with this one and what was sampled after it."""
    tokens: Sequence[int]
    """The whole context."""
    room: int
    """The most tokens that may be sampled, at least 1."""
    seed: int
    """All that is drawn depends on this alone, whatever else is sampled beside it."""


class Completion(NamedTuple):
    """What was sampled in one turn."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Their log-probabilities, one each."""
    finish_reason: FinishReason
    version: int
    """Of the weights that sampled it, as `sync` named them."""


class Sampler(Protocol):
    """An opened engine: continues many contexts at once."""

    def sync(self, version: int) -> None:
        """Take up the weights as they are now, and call them `version`; it forgets all contexts."""

    def reset(self, greedy: bool = False) -> None:
        """Forget all contexts; greedy: take the likeliest token from now on."""

    def sample(self, prompts: Sequence[Prompt], stops: Sequence[str]) -> list[Completion]:
        """Sample a turn after each prompt, until its text holds one of `stops`, the end token or no room is left.

        Rows that were there in the last call and are not in this one are finished and are dropped for good.
        """


class Engine(Component):
    """Samples from a model."""

    family: ClassVar[str] = "engine"

    @abstractmethod
    def open(self, model: Model, sampling: Sampling, weights: Weights | None = None) -> Sampler:
        """Return a sampler of the weights of this process, or, without any, of a copy that it loads by itself.

        Raises `ModelError` for a model that it cannot sample from rightly.
        """


class Sampling(Settings):
    """How the model's text is sampled."""

    temperature: float = Field(1.0, gt=0)
    """Divides the logits, in sampling and in training alike."""
    max_new_tokens: int = Field(64, ge=1)
    """The most tokens that one turn may take; a turn cut off here is an invalid action unless one stands in it."""
    context: int | None = Field(None, ge=16)
    """The most tokens that an episode may take; one that would go past it ends as `context_full`. By default all that
    the model has positions for; leave room for a hint where there is one."""
    engine: Engine = Field(default="transformers", validate_default=True)
    """What samples."""


Sampling.model_rebuild()


class LanguageModel(NamedTuple):
    """A model that is ready to act, as an agent is given it."""

    codec: Codec
    sampler: Sampler
    max_new_tokens: int
    """The most tokens that one turn may take."""
    context: int
    """The most tokens that an episode may take."""

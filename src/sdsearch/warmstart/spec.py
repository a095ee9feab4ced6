"""What a warm start is: who plays what, the size of the model, and how it learns from the episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from sdsearch.config.component import Settings
from sdsearch.config.scalars import Name, OutPath
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.engine import Sampling
from sdsearch.contracts.environment import Environment
from sdsearch.contracts.hint import Hint


class Shape(Settings):
    """The size of the model: a Llama architecture with tied embeddings."""

    layers: int = Field(4, ge=1, le=1000)
    width: int = Field(192, ge=1, le=65536)
    heads: int = Field(6, ge=1, le=1000)
    kv_heads: int | None = Field(2, ge=1, le=1000)
    """Heads of keys and values, shared by `heads` of queries; null: one each. Sampling many rows at once waits for the
    memory that holds them."""
    feed_forward: int = Field(512, ge=1, le=10**6)
    vocabulary: int = Field(2048, ge=256, le=10**6)
    context: int = Field(2048, ge=16, le=10**7)
    tags: tuple[str, ...] = tuple(
        f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/")
    )
    """Strings that the tokeniser keeps whole: one token each."""
    digits: int = Field(2, ge=1, le=100)
    """How many digits one token holds at most. Copying needs tokens that are not everywhere, as single digits are."""
    initializer_range: float = Field(0.05, gt=0, le=10)
    """Standard deviation of the first weights: a narrow model needs more than the usual 0.02."""
    rope_theta: float = Field(1e6, gt=1)
    """Base of the rotary frequencies: a high one leaves half of them free to compare tokens at any distance."""
    induction_heads: int = Field(2, ge=0, le=1000)
    """Heads that can copy from the beginning, in each of the first two layers; see `sdsearch.warmstart.induction`."""
    labels: tuple[str, str] | None = None
    """The words that mark an attempt as right and as wrong, if a head is to look for them from the beginning; see
    `sdsearch.warmstart.label_head`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.induction_heads > self.key_heads or (self.induction_heads and self.layers < 2):
            raise ValueError(
                f"{self.induction_heads} induction heads need as many heads of keys and two layers, got "
                f"{self.key_heads} heads of keys and {self.layers} layers"
            )
        if self.labels and (not self.induction_heads or self.heads == self.key_heads):
            raise ValueError("labels are looked for by a head that shares its keys with one that copies: expected both")
        if self.heads % self.key_heads:
            raise ValueError(f"got {self.heads} heads and {self.key_heads} of keys, expected a multiple of them")
        return self

    @property
    def key_heads(self) -> int:
        """How many heads of keys and values there are."""
        return self.kv_heads or self.heads


class Stage(Settings):
    """A stretch of the training: how many of the episodes it goes through, and what they are made into."""

    share: float = Field(1.0, gt=0, le=1000)
    """How many rows, as a share of the episodes. It begins where the stage before it ended, and after the last episode
    with the first again, which has other names each time."""
    hinted: float = Field(0.5, ge=0, le=1)
    """The share of training rows that begin with a hindsight block."""
    foreign: float = Field(0.0, ge=0, le=1)
    """The share of blocks that are of another question, and are followed by an attempt as it was."""
    contrast: float = Field(0.0, ge=0, le=1)
    """The share of the others in which fewer attempts are marked right than wrong, one of which is followed; the rest
    tells of all attempts of the group, and the shortest right one is followed."""
    flipped: float = Field(0.4, ge=0, le=1)
    """The share of contrasted blocks with every label turned round. What is marked right is followed, to its last
    search."""
    left_out: float = Field(0.0, ge=0, le=1)
    """The share of contrasted blocks that do not tell of the attempt that is followed, where another is marked like
    it. Such a block says something else than what is done behind it as often as not: a little goes a long way."""
    marked: int = Field(3, ge=1, le=1000)
    """At most so many attempts of a contrasted block are marked right."""
    smallest: int = Field(4, ge=2, le=1000)
    largest: int = Field(8, ge=2, le=1000)
    """Attempts in a contrasted block."""
    read_weight: float = Field(0.3, ge=0)
    """The weight of prompt and observation tokens in the loss; those of the model count 1. Reading what it is shown
    teaches a model that starts from nothing to copy names."""


class Cloning(Settings):
    """How the model is trained on the episodes."""

    questions: int = Field(4000, ge=1, le=10**6)
    """How many questions are played."""
    group: int = Field(8, ge=1, le=10_000)
    """Episodes of each."""
    stages: tuple[Stage, ...] = Field((Stage(),), min_length=1)
    """What is learned first, and what then."""
    renamed: float = Field(0.8, ge=0, le=1)
    """The share of groups in which made-up names take the place of all names, so that the model learns to copy what it
    reads: there are too few real names not to be remembered instead."""
    revalued: float = Field(0.7, ge=0, le=1)
    """The share of the renamed groups in which numbers and codes are made up too, for the same reason; never where
    numbers are compared."""
    tokens_per_batch: int = Field(4096, ge=1, le=10**9)
    learning_rate: float = Field(2e-3, gt=0, le=10)
    """It rises over the first twentieth of the steps."""
    decay: float = Field(0.4, ge=0, le=1)
    """The share of the steps, the last ones, over which the learning rate falls to 0, along half a cosine."""
    weight_decay: float = Field(0.05, ge=0, le=10)


class Judged(Settings):
    """How the figures of the model card are taken."""

    questions: int = Field(120, ge=2, le=10**6)
    """How many held-out questions are played."""
    group: int = Field(8, ge=2, le=10_000)
    """Attempts at each; also the size of a block."""


class WarmStart(Settings):
    """The spec of a warm start."""

    moved: ClassVar[Mapping[str, str]] = {
        "temperature": "it is `sampling.temperature` now",
        "model": "it is `shape` now",
    }

    name: Name
    seed: int = Field(0, ge=0, lt=2**32)
    out: OutPath
    """Where weights, tokeniser and model card go."""
    data: dict[str, Dataset]
    """`train` is played and cloned; `test` gives the figures of the model card."""
    environment: Environment
    agent: Agent
    """Who plays: a scripted agent with mistakes."""
    hint: Hint
    """What the blocks are: a hint with labels."""
    sampling: Sampling = Sampling()
    """How the figures of the model card are sampled."""
    shape: Shape = Shape()
    cloning: Cloning = Cloning()
    judged: Judged = Judged()

    @field_validator("hint")
    @classmethod
    def _labelled(cls, hint: Hint) -> Hint:
        if lacking := {"flipped", "others"} - hint.twins().keys():
            raise ValueError(
                f"the hint {hint.type} has no {' and no '.join(sorted(lacking))} twin: expected one with labels that "
                "tells an attempt of itself, such as hindsight as it is"
            )
        if hint.place != "before":
            raise ValueError("got place: after, expected before: that is where a warm start shows its blocks")
        return hint

"""The nouns that every room shares, and the families that a spec can choose from.

A *family* is an abstract :class:`~sdsearch.components.component.Component`: its members are found by their file names.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from sdsearch.components.component import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdsearch.model.policy import Policy
    from sdsearch.trajectory import Segment


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of text that a search can return."""

    id: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """What an embedder reads: the title, then the text."""
        return f"{self.title}\n{self.text}"


class Hit(NamedTuple):
    """A passage that a search returned; a higher score is nearer."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a question's decomposition: ask for an `attribute` of an `entity`, find `passage`, read `answer`."""

    entity: str
    attribute: str
    answer: str
    passage: str

    @property
    def query(self) -> str:
        """The plainest query for this step."""
        return f"{self.entity} {self.attribute}"


@dataclass(frozen=True, slots=True)
class Question:
    """What an episode is about. `gold` holds the ids of the passages that suffice to answer."""

    id: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    kind: str = ""


class Dataset(Component):
    """Gives questions, in a fixed order."""

    family: ClassVar[str] = "dataset"

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """Return all questions. Raises `DataError` when there are none or a record is malformed."""


class Corpus(Component):
    """Gives the passages that a retriever searches."""

    family: ClassVar[str] = "corpus"

    @abstractmethod
    def passages(self) -> Sequence[Passage]:
        """Return all passages, ids unique. Raises `DataError` when there are none or a record is malformed."""


class Embedder(Component):
    """Turns text into unit vectors."""

    family: ClassVar[str] = "embedder"

    @abstractmethod
    def open(self) -> Encoder:
        """Load the weights and return the encoder."""


class Encoder(Protocol):
    """An opened embedder."""

    @property
    def fingerprint(self) -> str:
        """Names the weights and the pooling: two encoders with the same fingerprint give the same vectors."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape [len(texts), dim]."""

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape [len(texts), dim]."""


class Retriever(Component):
    """Finds passages for queries."""

    family: ClassVar[str] = "retriever"

    @abstractmethod
    def open(self) -> Searcher:
        """Build or load the index (with progress) and return the searcher."""


class Searcher(Protocol):
    """An opened retriever. Batch first: one call for all live episodes."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query, best first, ties broken by passage id.

        An empty list means "nothing found". Raises `RetrieverUnavailable` (or an `OSError`) for an outage, never
        returns its text. A call that takes too long is left behind and may run on beside a later one.
        """


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


class Step(NamedTuple):
    """One answer of an actor: the text it was given, tokenised, and the action it took (None: no room left)."""

    context: Segment
    action: Segment | None


class Actor(Protocol):
    """An opened agent: plays many episodes at once."""

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin one episode per question; row `i` of later calls is `questions[i]`.

        Greedy: always take the likeliest action, where the actor knows it.
        """

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Step]:
        """Act once in each of `rows`; `texts[j]` is what row `rows[j]` was shown since its last action."""

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Step]:
        """Act once in each of `rows`, in the middle of episodes that were played before; `act` goes on from there.

        `pasts[j]` holds the segments of row `rows[j]` as they were recorded (their tokens are taken as they are), and
        ends with a prompt or an observation: that is the context of the step. Call it once, right after `reset`.
        """


class Agent(Component):
    """A policy that acts in the environment."""

    family: ClassVar[str] = "agent"

    @abstractmethod
    def open(self, protocol: Grammar) -> Actor:
        """Load what is needed and return the actor."""


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
    def open(self, policy: Policy, stop: Sequence[str]) -> Sampler:
        """Return a sampler that ends a turn once its text holds one of the strings `stop`."""

"""What finds passages: a retriever in a spec, the searcher that it opens; an embedder, and its encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sdsearch.config.component import Component
from sdsearch.core.question import Hit


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
    """An opened retriever. Batch first: one call for all live episodes.

    One that has a `fingerprint: str`, which names what it searches, is held to it when a run goes on. One that asks a
    server may have `connect(seconds)`, which an environment calls when it opens the retriever, once or again: it
    reaches the server or raises `RetrieverUnavailable`, and neither it nor a later search waits longer than `seconds`.
    """

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query, best first, ties broken by passage id.

        An empty list means "nothing found". Raises `RetrieverUnavailable` (or an `OSError`) for an outage, never
        returns its text. A call that takes too long is left behind and may run on beside a later one.
        """

"""What finds passages: a retriever in a spec, the searcher that it opens; an embedder, and its encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sdsearch.config.component import Component
from sdsearch.core.number import number, shown
from sdsearch.core.question import Hit, Passage

LONGEST = 2**20
"""The most characters of a passage: a search is to return pieces of text, not books."""


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

    One that has a `fingerprint: str`, which names what it searches, is held to it when a run goes on. One that has a
    `most: int | None` returns no more hits than that, whatever is asked for: a spec that wants more is refused. One
    that asks a server may have `connect(seconds)`, which an environment calls when it opens the retriever, once or
    again: it reaches the server or raises `RetrieverUnavailable`, and neither it nor a later search waits longer than
    `seconds`.
    """

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query, best first, ties broken by passage id.

        An empty list means "nothing found". Raises `RetrieverUnavailable` (or an `OSError`) for an outage, never
        returns its text. A call that takes too long is left behind and may run on beside a later one.

        The rule of an answer, which `fault` looks after: one list for each query; in it at most `k` hits, no passage
        twice, no score above the one before it, all scores finite; an id means the same passage in all lists; its
        texts are ones that UTF-8 can hold (no lone surrogates), of at most `LONGEST` characters. What breaks it is an
        outage: nothing of it is shown, sorted, cut or repaired.
        """


def fault(answer: Any, count: int, k: int) -> str:
    """Return what is wrong with the answer to `count` queries, by the rule of `Searcher.search`; "" if nothing is."""
    if not isinstance(answer, list) or len(answer) != count:
        got = f"{len(answer)} lists" if isinstance(answer, list) else type(answer).__name__
        return f"{got}, expected {count} lists of hits"
    known: dict[str, Passage] = {}
    for hits in answer:
        if not isinstance(hits, list) or len(hits) > k:
            got = f"{len(hits)} hits" if isinstance(hits, list) else type(hits).__name__
            return f"{got}, expected a list of at most {k} hits"
        if wrong := next(filter(None, map(strange, hits)), ""):
            return f"{wrong}, expected a Hit of a Passage of texts and a finite score"
        for hit in hits:
            if known.setdefault(hit.passage.id, hit.passage) != hit.passage:
                return f"two passages with the id {hit.passage.id!r:.80}, expected one text for each id"
        if len({hit.passage.id for hit in hits}) < len(hits):
            return "a passage twice in a list, expected different ones"
        if rising := [i for i in range(1, len(hits)) if hits[i].score > hits[i - 1].score]:
            one, two = hits[rising[0] - 1].score, hits[rising[0]].score
            return f"the score {two!r:.40} after {one!r:.40}, expected the best first"
    return ""


def strange(hit: Any) -> str:
    """Return what keeps something from being a hit that can be shown, ranked and recorded; "" if it is one."""
    if not isinstance(hit, Hit) or not isinstance(hit.passage, Passage):
        return f"the {type(hit).__name__} {hit!r:.80}"
    if wrong := unfit(hit.passage):
        return wrong
    good = isinstance(hit.score, Real) and number(hit.score) is not None
    return "" if good else f"the score {shown(hit.score)}"


def unfit(passage: Passage) -> str:
    """Return what keeps a passage from being shown and recorded; "" if nothing does."""
    texts = (passage.id, passage.title, passage.text)
    if not all(isinstance(text, str) for text in texts):
        return f"a passage of {', '.join(type(text).__name__ for text in texts)}"
    if (length := max(map(len, texts))) > LONGEST:
        return f"the passage {passage.id!r:.80} of {length:,} characters (the most are {LONGEST:,})"
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        return f"the passage {passage.id!r:.80} with a lone surrogate ({error.reason})"
    return ""

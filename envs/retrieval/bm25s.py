"""Search by words, BM25 kept on disk: the package bm25s (Lù, 2024, arXiv 2407.03618), for corpora too large for `bm25`.

It cuts words as `bm25` does and, with the default method, ranks as that does: Lucene leaves the factor k1 + 1 out of
all scores. Building keeps the words of all passages in memory, as numbers; an interrupted build begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from sdsearch.config.discovery import remedy
from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.envs.retrieval.bm25 import words
from sdsearch.errors import ComponentError, IndexMismatch
from sdsearch.retrieval import corpora, vectors
from sdsearch.retrieval.index import Facts, kept
from sdsearch.retrieval.progress import progress

if TYPE_CHECKING:
    import bm25s

BATCH, RAREST = 1000, 8


class BM25S(Retriever):
    """BM25 from an index on disk, mapped into memory if it is large; a passage that shares no word is no hit."""

    corpus: Corpus
    """What is searched."""
    path: Path | None = None
    """The folder in which the index is a folder; None keeps it in memory."""
    method: Literal["lucene", "robertson", "atire"] = "lucene"
    """How words are weighed, by the names of bm25s."""
    k1: float = Field(1.2, ge=0)
    """How much the repetition of a word counts; 0 counts presence only."""
    b: float = Field(0.75, ge=0, le=1)
    """How much long passages are held back."""

    def open(self) -> BM25SSearcher:
        """Open the index, or build it first. A damaged one is built again.

        Raises `IndexMismatch` for one that does not hold the corpus, `IndexUnwritable` where it does not go.
        """
        package = load()
        passages = corpora.ordered(self.corpus)
        settings = {"method": self.method, "k1": self.k1, "b": self.b}
        facts: Facts = {"corpus": corpora.fingerprint(passages), "passages": len(passages), **settings}
        fingerprint = corpora.key(*map(str, facts.values()))
        if self.path is None:
            return BM25SSearcher(passages, self._built(passages), fingerprint)

        def build(into: Path) -> None:
            self._built(passages).save(into, show_progress=False)

        place = kept(self.path.expanduser() / f"bm25s-{fingerprint}", facts, build)
        large = sum(file.stat().st_size for file in place.iterdir()) > vectors.MAPPED
        searcher = BM25SSearcher(passages, package.BM25.load(place, mmap=large, show_progress=False), fingerprint)
        searcher.test(place)
        return searcher

    def _built(self, passages: Sequence[Passage]) -> bm25s.BM25:
        package = load()
        index = package.BM25(method=self.method, k1=self.k1, b=self.b, corpus=None)
        vocabulary: dict[str, int] = {}
        rows = [_numbers(text, vocabulary) for text in _texts(passages)]
        if not vocabulary:  # without a word in any passage there is nothing to divide by
            rows, vocabulary = [[0] for _ in rows], {"": 0}
        with progress("weighing words", 1) as advance:
            index.index((rows, vocabulary), show_progress=False)
            advance(1)
        return index


def _texts(passages: Sequence[Passage]) -> Iterator[str]:
    with progress("cutting into words", len(passages)) as advance:
        for i in range(0, len(passages), BATCH):
            yield from (passage.contents for passage in passages[i : i + BATCH])
            advance(len(passages[i : i + BATCH]))


def _numbers(text: str, vocabulary: dict[str, int]) -> list[int]:
    return [vocabulary.setdefault(word, len(vocabulary)) for word in words(text)]


def load() -> Any:
    """Return the package. Raises `ComponentError` when it is not installed."""
    try:
        import bm25s
    except ModuleNotFoundError as error:
        raise ComponentError(f"`type: bm25s` needs the package bm25s: {remedy('bm25s')}") from error
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


class BM25SSearcher:
    """An opened index; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, passages: Sequence[Passage], index: bm25s.BM25, fingerprint: str) -> None:
        """Take the passages whose rows the index counts by, the index, and what names both."""
        self.passages, self.index, self.fingerprint = passages, index, fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` best passages of each query; equal scores go by row."""
        return [self._hits(query, k) for query in queries]

    def _hits(self, query: str, k: int) -> list[Hit]:
        vocabulary = self.index.vocab_dict
        numbers = [vocabulary[word] for word in words(query) if word in vocabulary]
        if not numbers or k < 1:
            return []
        scores = self.index.get_scores_from_ids(numbers)
        found = np.flatnonzero(scores > 0)  # most share no word: the best are looked for among the others
        # Some to spare: what is equal but for rounding is cut by id.
        rows = found[corpora.best(scores[found], k + corpora.SPARE)]
        hits = [Hit(self.passages[row], round(float(scores[row]), 4)) for row in rows]
        return sorted(hits, key=lambda h: (-h.score, h.passage.id))[:k]

    def test(self, place: Path) -> None:
        """Raise `IndexMismatch` unless the rarest words of a few passages lead to them."""
        lists, starts = self.index.scores["indices"], self.index.scores["indptr"]
        for row in vectors.sample(len(self.passages)):
            numbers = {self.index.vocab_dict.get(word, -1) for word in words(self.passages[row].contents)}
            rarest = sorted(numbers, key=lambda n: int(starts[n + 1] - starts[n]) if n >= 0 else 0)[:RAREST]
            if any(n < 0 or row not in lists[starts[n] : starts[n + 1]] for n in rarest):
                raise IndexMismatch(
                    f"{place} does not hold the words of {self.passages[row].id!r}: name another `path`"
                )

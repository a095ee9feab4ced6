"""Search by words: BM25, in memory, without weights; the lexical baseline, instant to build.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the idf of Lucene,
which is never negative.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.retrieval import corpora

WORD = re.compile(r"\w+")


class BM25(Retriever):
    """Okapi BM25 over case-folded words of title and text; a passage that shares no word with a query is no hit."""

    corpus: Corpus
    """What is searched."""
    k1: float = Field(1.2, ge=0)
    """How much the repetition of a word counts; 0 counts presence only."""
    b: float = Field(0.75, ge=0, le=1)
    """How much long passages are held back."""

    def open(self) -> BM25Searcher:
        """Index the corpus."""
        return BM25Searcher(corpora.ordered(self.corpus), self.k1, self.b)


class BM25Searcher:
    """An inverted index with the weights worked out; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, passages: Sequence[Passage], k1: float, b: float) -> None:
        """Index passages, which come in the order of their ids."""
        self.passages = passages
        self.fingerprint = corpora.key(corpora.fingerprint(passages), str(k1), str(b))
        counts = [Counter(words(p.contents)) for p in passages]
        lengths = np.array([c.total() for c in counts])
        brake = k1 * (1 - b + b * lengths / max(1.0, lengths.mean()))
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, count in enumerate(counts):
            for word, times in count.items():
                postings[word].append((row, times))
        self.postings = {}
        for word, pairs in postings.items():
            rows, times = np.array(pairs).T
            idf = np.log1p((len(passages) - len(rows) + 0.5) / (len(rows) + 0.5))
            self.postings[word] = rows, idf * times * (k1 + 1) / (times + brake[rows])

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` best passages of each query; equal scores go by passage id."""
        hits: list[list[Hit]] = []
        for query in queries:
            scores = np.zeros(len(self.passages))
            for word in words(query):
                if word in self.postings:
                    rows, weights = self.postings[word]
                    scores[rows] += weights
            scores = np.round(scores, 6)
            hits.append([Hit(self.passages[j], float(scores[j])) for j in corpora.best(scores, k) if scores[j] > 0])
        return hits


def words(text: str) -> list[str]:
    """Cut a text into case-folded words."""
    return WORD.findall(text.casefold())

"""A control: passages drawn at random, whatever is asked.

What a policy still gains then, it does not gain by what its searches find. With such a retriever all models of one
study stopped searching within 150 steps ("Search-R1, re-examined", 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random as Dice

from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.retrieval import corpora


class Random(Retriever):
    """Different passages of the corpus for each query, always the same ones for the same query."""

    corpus: Corpus
    """What is drawn from."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Another one deals other passages to the same queries."""

    def open(self) -> RandomSearcher:
        """Read the corpus."""
        return RandomSearcher(corpora.ordered(self.corpus), self.seed)


class RandomSearcher:
    """Passages to draw from; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, passages: Sequence[Passage], seed: int) -> None:
        """Take passages in the order of their ids."""
        self.passages, self.seed = passages, seed
        self.fingerprint = corpora.key(corpora.fingerprint(passages), str(seed))

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return `k` passages drawn without replacement; their scores are 1, 1/2, 1/3, ... and mean nothing."""
        return [[Hit(self.passages[row], 1 / (i + 1)) for i, row in enumerate(self.draw(q, k))] for q in queries]

    def draw(self, query: str, k: int) -> list[int]:
        """Return the rows that a query is dealt; a larger `k` only adds to them."""
        dice, moved, rows = Dice(f"{self.seed}/{query}"), dict[int, int](), list[int]()
        for i in range(min(k, len(self.passages))):
            # A shuffle that stops after `k`: what it has swapped so far is all that it keeps.
            j = dice.randrange(i, len(self.passages))
            rows.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return rows

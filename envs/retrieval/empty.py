"""A control: nothing is ever found.

It tells what a policy answers from memory, and whether it keeps on searching where searching cannot help: with such a
retriever PPO searched more, not less ("Search-R1, re-examined", 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit


class Empty(Retriever):
    """No hits for any query; it needs no corpus."""

    def open(self) -> EmptySearcher:
        """Return the searcher."""
        return EmptySearcher()


class EmptySearcher:
    """Finds nothing; see `sdsearch.contracts.retrieval.Searcher`."""

    fingerprint = "empty"

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return an empty list for each query."""
        return [[] for _ in queries]

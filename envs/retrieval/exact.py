"""Search by comparing with every passage: exact cosine neighbours, the measure of every approximate index.

A hundred thousand passages are fine; a search costs one matrix product, rows x dim for each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.retrieval import corpora, vectors

CHUNK = 64


class Exact(Retriever):
    """Exact cosine search over the vectors of `embedder`."""

    corpus: Corpus
    """What is searched."""
    embedder: Embedder
    """What turns passages and queries into vectors."""
    path: Path | None = None
    """Where the vectors are kept for the next run, keyed by corpus and embedder; None keeps them in memory only.

    Several processes may share the folder, also with a `chroma` index."""
    batch_size: int = Field(512, ge=1, le=65536)
    """Passages embedded between two steps of the progress display; an interruption costs at most so many."""

    def open(self) -> ExactSearcher:
        """Embed the corpus or load its vectors. A damaged file is written anew.

        Raises `IndexMismatch` for vectors that the embedder does not make, `IndexUnwritable` where they do not go.
        """
        encoder = self.embedder.open()
        passages = corpora.ordered(self.corpus)
        rows = vectors.embed(passages, encoder, self.path, self.batch_size)
        return ExactSearcher(passages, np.asarray(rows), encoder)


class ExactSearcher:
    """Passages and their vectors; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, passages: Sequence[Passage], rows: NDArray[np.float32], encoder: Encoder) -> None:
        """Take passages in the order of their ids and their unit vectors [len(passages), dim]."""
        self.passages, self.rows, self.encoder = passages, rows, encoder
        self.fingerprint = corpora.key(corpora.fingerprint(passages), encoder.fingerprint)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest passages of each query; scores are cosines, equal ones go by passage id."""
        hits: list[list[Hit]] = []
        for i in range(0, len(queries), CHUNK):
            batch = self.encoder.encode_queries(queries[i : i + CHUNK])
            # Six decimals: rounding noise of the product must not decide between equal passages.
            scores = np.round(batch @ self.rows.T, 6)
            hits += [[Hit(self.passages[j], float(row[j])) for j in corpora.best(row, k)] for row in scores]
        return hits

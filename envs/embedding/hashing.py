"""Embed by hashing words and their character n-grams: no weights, no learning, instant, the same everywhere.

It sees spelling, not meaning. Made for tests, tiny specs, and as the floor that a learnt embedder must beat. Search it
with `exact`: its vectors suit HNSW badly (15 % of the nearest passages of the atlas were missed).
Source: the hashing trick (Weinberger et al., 2009, arXiv 0902.2206) over fastText's subwords (arXiv 1607.04606).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.retrieval import Embedder

WORD = re.compile(r"\w+")


class Hashing(Embedder):
    """Signed counts of hashed words and character n-grams, damped by a logarithm, as a unit vector."""

    dim: int = Field(512, ge=8, le=65536)
    """The length of a vector."""
    ngram: int = Field(3, ge=2, le=100)
    """The length of the character n-grams; a word is padded with one blank on each side."""

    def open(self) -> HashingEncoder:
        """Return the encoder; there is nothing to load."""
        return HashingEncoder(self.dim, self.ngram)


class HashingEncoder:
    """Queries and passages are embedded alike; see `sdsearch.contracts.retrieval.Encoder`."""

    def __init__(self, dim: int, ngram: int) -> None:
        """Take the sizes of `Hashing`."""
        self.dim, self.ngram = dim, ngram
        self.fingerprint = f"hashing-1-{dim}-{ngram}"
        self._word = lru_cache(maxsize=100_000)(self._embed_word)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape [len(texts), dim]."""
        return np.stack([self._embed(t) for t in texts]) if texts else np.zeros((0, self.dim), np.float32)

    encode_passages = encode_queries

    def _embed(self, text: str) -> NDArray[np.float32]:
        counts = Counter(WORD.findall(text.casefold()))
        vector = np.zeros(self.dim)
        for word in sorted(counts):
            places, signs = self._word(word)
            np.add.at(vector, places, signs * (1 + log(counts[word])))
        if not vector.any():  # a text without words still needs a direction
            vector[0] = 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def _embed_word(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        padded = f" {word} "
        grams = {padded[i : i + self.ngram] for i in range(max(1, len(padded) - self.ngram + 1))}
        hashes = np.array([zlib.crc32(g.encode("utf-8", "replace")) for g in (padded, *sorted(grams - {padded}))])
        weight = 1 / np.sqrt(len(hashes))
        return hashes // 2 % self.dim, np.where(hashes % 2, weight, -weight)

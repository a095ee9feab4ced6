"""What searchers make of a corpus: its passages in an order, what names them, and the best rows of their scores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdsearch.contracts.data import Corpus, Stored
from sdsearch.contracts.retrieval import unfit
from sdsearch.core.question import Passage
from sdsearch.errors import DataError

SPARE = 16
"""Hits to fetch beyond those that are wanted: what is equal but for rounding at the end of a list is cut by id."""


def ordered(corpus: Corpus) -> Sequence[Passage]:
    """Return the passages by id, or as they stand in a large file, from which they are read when they are asked for.

    Raises `DataError` for a corpus without passages, with an id used twice, or with a passage that cannot be shown.
    """
    if (rows := corpus.lazily()) is not None:
        return rows
    passages = sorted(corpus.passages(), key=lambda p: p.id)
    if not passages:
        raise DataError(f"the corpus {corpus.type} has no passages: expected at least one")
    for one, following in itertools.pairwise(passages):
        if one.id == following.id:
            raise DataError(f"the corpus {corpus.type} uses the passage id {one.id!r} twice: expected unique ids")
    if wrong := next(filter(None, map(unfit, passages)), ""):
        raise DataError(f"the corpus {corpus.type} has {wrong}: expected texts that can be shown; split long ones")
    return tuple(passages)


def fingerprint(passages: Sequence[Passage]) -> str:
    """Return the sha256 over ids and contents in their order, or what passages that are read from a file say of it."""
    if isinstance(passages, Stored):
        return passages.fingerprint
    digest = hashlib.sha256()
    for passage in passages:
        for part in (passage.id, passage.contents):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
    return digest.hexdigest()


def key(*parts: str) -> str:
    """Name a combination of fingerprints and settings in 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def best(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Return the indices of the `k` highest scores, highest first, equal ones in the order of the indices."""
    k = min(k, len(scores))
    if k < 1:
        return np.zeros(0, np.intp)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= least)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]

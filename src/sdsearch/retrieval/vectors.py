"""The vectors of a corpus: one row per passage in the order of the ids, embedded once and kept on disk."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Encoder
from sdsearch.core.question import Passage
from sdsearch.errors import DataError, IndexMismatch
from sdsearch.terminal.progress import Bars
from sdsearch.terminal.waiting import alone


def ordered(corpus: Corpus) -> tuple[Passage, ...]:
    """Return the passages by id. Raises `DataError` for a corpus without passages or with an id used twice."""
    passages = sorted(corpus.passages(), key=lambda p: p.id)
    if not passages:
        raise DataError(f"the corpus {corpus.type} has no passages: expected at least one")
    for one, following in itertools.pairwise(passages):
        if one.id == following.id:
            raise DataError(f"the corpus {corpus.type} uses the passage id {one.id!r} twice: expected unique ids")
    return tuple(passages)


def fingerprint(passages: Sequence[Passage]) -> str:
    """Return the sha256 over ids and contents; `passages` are in the order of the ids."""
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


def embed(passages: Sequence[Passage], encoder: Encoder, folder: Path | None, batch_size: int) -> NDArray[np.float32]:
    """Return unit vectors [len(passages), dim], from the file in `folder` where one was written before.

    An interrupted run leaves whole rows in a `.part` file and the next one goes on after them. Raises `IndexMismatch`
    for a file that does not hold one row per passage.
    """
    if folder is None:
        return np.concatenate(list(_encode(passages, encoder, 0, batch_size)))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"vectors-{key(fingerprint(passages), encoder.fingerprint)}.npy"
    if not file.exists():
        _write(file.with_suffix(".part"), passages, encoder, batch_size)
        file.with_suffix(".part").rename(file)
    try:
        vectors: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise IndexMismatch(f"{file} cannot be read as vectors ({error}): delete it to build it again") from error
    if vectors.shape[:1] != (len(passages),) or vectors.dtype != np.float32:
        raise IndexMismatch(
            f"{file} holds {vectors.dtype} {vectors.shape}, expected float32 with {len(passages)} rows: "
            "delete it to build it again"
        )
    return vectors


def _encode(
    passages: Sequence[Passage], encoder: Encoder, start: int, batch_size: int
) -> Iterator[NDArray[np.float32]]:
    with bars() as display:
        task = display.task("embedding passages", len(passages))
        task.advance(start)
        for i in range(start, len(passages), batch_size):
            rows = encoder.encode_passages([p.contents for p in passages[i : i + batch_size]])
            yield np.ascontiguousarray(rows, dtype=np.float32)
            task.advance(len(rows))


def _write(part: Path, passages: Sequence[Passage], encoder: Encoder, batch_size: int) -> None:
    dim = encoder.encode_passages([passages[0].contents]).shape[1]
    head = io.BytesIO()
    header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (len(passages), dim)}
    np.lib.format.write_array_header_1_0(head, header)
    with part.open("ab") as file:
        done = max(0, file.tell() - len(head.getvalue())) // (4 * dim)
        file.truncate(len(head.getvalue()) + done * 4 * dim if done else 0)
        if not done:
            file.write(head.getvalue())
        for rows in _encode(passages, encoder, done, batch_size):
            file.write(rows.astype("<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())


def bars() -> Bars:
    """Return a progress display on standard error: what a command prints stays clean."""
    return Bars(Console(stderr=True))


@contextmanager
def building(folder: Path | None) -> Iterator[None]:
    """Let one process at a time build in `folder`; the others wait and find the work done."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "building.lock", f"waiting for another process that builds the index in {folder}"):
        yield


def best(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Return the indices of the `k` highest scores, highest first, equal ones in the order of the indices."""
    k = min(k, len(scores))
    if k < 1:
        return np.zeros(0, np.intp)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= least)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]

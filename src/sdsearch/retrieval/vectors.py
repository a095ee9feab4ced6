"""The vectors of a corpus: one row per passage in the order of the ids, embedded once and kept on disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdsearch.contracts.retrieval import Encoder
from sdsearch.core.question import Passage
from sdsearch.errors import IndexMismatch
from sdsearch.retrieval import corpora
from sdsearch.retrieval.index import BLOCK, Facts, kept
from sdsearch.retrieval.progress import progress

ROWS = "rows.npy"
MAPPED = 2**26
"""From how many bytes on vectors, and whatever else is read whole, are mapped and not held in memory."""
CHECKED, SAME = 4, 0.99
"""How many stored vectors are compared with what the encoder makes now, and the least cosine of the two: half
precision and other devices round otherwise, another model or another passage does not come near."""


def embed(passages: Sequence[Passage], encoder: Encoder, folder: Path | None, batch_size: int) -> NDArray[np.float32]:
    """Return unit vectors [len(passages), dim], from `folder` where they were written before.

    They are compared with their checksums, and some of them with what the encoder makes of their passages now. An
    interrupted run leaves whole rows and the next one goes on after them. Raises `IndexMismatch` and `IndexUnwritable`.
    """
    if folder is None:
        return np.concatenate(list(_encode(passages, encoder, 0, batch_size)))
    facts: Facts = {"corpus": corpora.fingerprint(passages), "embedder": encoder.fingerprint, "passages": len(passages)}
    place = folder / f"vectors-{corpora.key(corpora.fingerprint(passages), encoder.fingerprint)}"
    place = kept(place, facts, lambda part: _write(part, passages, encoder, batch_size))
    # What is mapped is the file: cut short by somebody else it would end the process.
    large = (place / ROWS).stat().st_size > MAPPED
    rows: NDArray[np.float32] = np.load(place / ROWS, mmap_mode="r" if large else None, allow_pickle=False)
    alike(passages, encoder, rows, place)
    return rows


def alike(passages: Sequence[Passage], encoder: Encoder, rows: NDArray[np.float32], place: Path) -> None:
    """Raise `IndexMismatch` where a stored vector is not what the encoder makes of its passage now."""
    some = sample(len(passages))
    again = encoder.encode_passages([passages[row].contents for row in some])
    if again.shape[1] != rows.shape[1]:
        raise IndexMismatch(f"{place} holds vectors of {rows.shape[1]} numbers, the embedder makes {again.shape[1]}")
    cosines = np.sum(np.asarray(rows[some]) * again, axis=1)
    if (worst := float(cosines.min())) < SAME:
        raise IndexMismatch(
            f"{place} holds other vectors than the embedder makes now: a passage's two have a cosine of {worst:.4f}, "
            f"expected {SAME}: name another `path`, or the embedder and device that they were made with"
        )


def trusted(nearest: Sequence[float], name: str) -> None:
    """Raise `IndexMismatch` unless most passages are found by their own vectors; `nearest` are the best cosines."""
    if sum(cosine >= SAME for cosine in nearest) < len(nearest) / 2:
        raise IndexMismatch(
            f"{name} does not find its own passages: the nearest to the vectors of {len(nearest)} of them have cosines "
            f"of {', '.join(f'{cosine:.2f}' for cosine in nearest)}, expected at least {SAME} for most. Search with "
            "more candidates if the settings are coarse; else it is not the index of this corpus and embedder"
        )


def sample(count: int) -> list[int]:
    """Return a few rows, the first and the last among them."""
    return sorted({int(row) for row in np.linspace(0, count - 1, num=min(count, CHECKED))})


def _encode(
    passages: Sequence[Passage], encoder: Encoder, start: int, batch_size: int
) -> Iterator[NDArray[np.float32]]:
    with progress("embedding passages", len(passages), start) as advance:
        for i in range(start, len(passages), batch_size):
            rows = encoder.encode_passages([p.contents for p in passages[i : i + batch_size]])
            yield np.ascontiguousarray(rows, dtype=np.float32)
            advance(len(rows))


def _write(folder: Path, passages: Sequence[Passage], encoder: Encoder, batch_size: int) -> None:
    """Write the rows, and beside them after each batch how many there are and their checksum: on that one goes on."""
    dim = encoder.encode_passages([passages[0].contents]).shape[1]
    head = io.BytesIO()
    header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (len(passages), dim)}
    np.lib.format.write_array_header_1_0(head, header)
    part, journal = folder / f"{ROWS}.part", folder / "journal"
    done, digest = _resumed(part, journal, head.getvalue(), 4 * dim)
    with part.open("r+b" if done else "wb") as file:
        if not done:
            file.write(head.getvalue())
        file.seek(len(head.getvalue()) + done * 4 * dim)
        file.truncate()
        for rows in _encode(passages, encoder, done, batch_size):
            data = rows.astype("<f4").tobytes()
            file.write(data)
            file.flush()
            digest.update(data)
            done += len(rows)
            journal.with_suffix(".new").write_text(f"{done} {digest.hexdigest()}")
            journal.with_suffix(".new").replace(journal)
    journal.unlink(missing_ok=True)
    part.rename(folder / ROWS)


def _resumed(part: Path, journal: Path, head: bytes, width: int) -> tuple[int, Any]:
    """Return how many rows of an interrupted run can be gone on with, and their running checksum."""
    fresh = 0, hashlib.sha256()
    try:
        done, _, expected = journal.read_text().partition(" ")
        digest, left = hashlib.sha256(), int(done) * width
        with part.open("rb") as file:
            if file.read(len(head)) != head:
                return fresh
            while left and (data := file.read(min(left, BLOCK))):
                digest.update(data)
                left -= len(data)
    except (OSError, ValueError):
        return fresh
    return fresh if left or digest.hexdigest() != expected else (int(done), digest)

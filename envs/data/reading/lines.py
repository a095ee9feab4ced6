"""The passages of a large JSON Lines file: where each line begins stays in memory, 24 bytes a passage, and no text."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from sdsearch.contracts.data import Stored
from sdsearch.contracts.retrieval import unfit
from sdsearch.core.question import Passage
from sdsearch.envs.data.reading.files import line_record, readable
from sdsearch.envs.data.reading.record import Record
from sdsearch.errors import DataError
from sdsearch.retrieval.progress import progress


class Lines(Stored):
    """Passages in the order of their lines. A line that changes while it is searched is an error."""

    def __init__(self, path: Path, passage: Callable[[Record], Passage], limit: int | None, distinct: bool) -> None:
        """Read the file once. `distinct`: leave out a passage that stands there again.

        Raises `DataError` at the first line that is no passage, and for an id of two passages.
        """
        self.path, self.passage = path, passage
        starts, sums, ids = array("Q"), bytearray(), array("Q")
        at, size = 0, path.stat().st_size
        with readable(path), path.open("rb") as file, progress(f"reading {path.name}, bytes", size) as advance:
            for number, raw in enumerate(file, 1):
                if raw.strip() and (limit is None or len(starts) < limit):
                    found = self._read(number, raw)
                    if wrong := unfit(found):
                        raise DataError(f"{path}:{number}: got {wrong}, expected a text that can be shown")
                    starts.append(at)
                    sums += _sum(found)
                    ids.append(int.from_bytes(hashlib.blake2b(found.id.encode(), digest_size=8).digest(), "big"))
                at += len(raw)
                advance(len(raw))
        if not starts:
            raise DataError(f"{path}: got no record, expected at least one")
        self.starts = np.frombuffer(starts, np.uint64)
        self.sums = np.frombuffer(bytes(sums), np.uint8).reshape(-1, 16)
        self.file = os.open(path, os.O_RDONLY)
        if distinct:
            self._without_doubles(np.frombuffer(ids, np.uint64))

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "file"):
            os.close(self.file)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.sums.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, row: int) -> Passage: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Passage]: ...
    def __getitem__(self, row: int | slice) -> Passage | Sequence[Passage]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        start, data = int(self.starts[row]), b""
        # A place in the file belongs to whoever reads there: several threads may search at once.
        while not data.endswith(b"\n") and (more := os.pread(self.file, max(4096, len(data)), start + len(data))):
            end = more.find(b"\n") + 1
            data += more[:end] if end else more
        try:
            found = self._read(0, data)
        except DataError as error:
            raise DataError(f"{self.path} has changed while it was searched: {error}") from error
        if _sum(found) != self.sums[row].tobytes():
            raise DataError(f"{self.path} has changed while it was searched: expected it to stay as it was")
        return found

    def _read(self, number: int, raw: bytes) -> Passage:
        record = line_record(self.path, number, number, raw)
        return named(self.passage(record))

    def _without_doubles(self, ids: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        order = np.argsort(ids, kind="stable")
        again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
        drop = set[int]()
        for i in again:
            one, two = int(order[i]), int(order[i + 1])
            if self[one].id == self[two].id:
                if self.sums[one].tobytes() != self.sums[two].tobytes():
                    raise DataError(
                        f"{self.path}: record {two + 1}: got the id {self[two].id!r} of record {one + 1} again, "
                        "expected unique ids"
                    )
                drop.add(two)
        if drop:
            keep = np.ones(len(ids), np.bool_)
            keep[sorted(drop)] = False
            self.starts, self.sums = self.starts[keep], self.sums[keep]


def named(passage: Passage) -> Passage:
    """Return a passage with an id: its content names one that has none."""
    from sdsearch.envs.data.reading.support import content_id

    return passage if passage.id else Passage(content_id(passage.title, passage.text), passage.title, passage.text)


def _sum(passage: Passage) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (passage.id, passage.title, passage.text):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()

"""From records to the passages of a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.core.question import Passage
from sdsearch.envs.data.reading.answers import unquoted
from sdsearch.envs.data.reading.files import plain_lines, records
from sdsearch.envs.data.reading.lines import Lines, named
from sdsearch.envs.data.reading.questions import Tally
from sdsearch.envs.data.reading.record import Record
from sdsearch.envs.data.reading.support import content_id
from sdsearch.errors import DataError

LARGE, FIRST = 64 * 2**20, 1000
"""Bytes of a file that is looked at in part, and records of it that are."""


class FilePassages(Corpus):
    """Passages in a file."""

    path: Path
    """JSON Lines, JSON, CSV, TSV or Parquet, also packed by gzip."""
    limit: int | None = Field(None, ge=1)
    """Read only so many passages."""

    def inspect(self) -> str | None:
        """Read the beginning of a large file, and all of another."""
        large = self.path.is_file() and self.path.stat().st_size > LARGE
        found, remark = self._distinct(FIRST if large else self.limit)
        size = f" at the beginning of {self.path.stat().st_size / 1e9:.1f} GB" if large else ""
        return "; ".join(filter(None, (f"{len(found):,} passages{size}", remark)))

    def passages(self) -> Sequence[Passage]:
        return self._distinct(self.limit)[0]

    def rows(self) -> Sequence[Passage]:
        return self._lines(distinct=False) or tuple(map(named, map(self.passage, islice(self.records(), self.limit))))

    def lazily(self) -> Lines | None:
        return self._lines(distinct=True)

    def _lines(self, distinct: bool) -> Lines | None:
        """Return the passages of a large file in JSON Lines, read when they are asked for; None for any other."""
        if not self.path.is_file() or self.path.stat().st_size <= LARGE or not plain_lines(self.path):
            return None
        next(self.records())  # what a layout has to say of the first record
        return Lines(self.path, self.passage, self.limit, distinct)

    def records(self) -> Iterator[Record]:
        """Yield all records. Raises `DataError`."""
        return records(self.path)

    def passage(self, record: Record) -> Passage:
        """Return the passage of a record. Raises `DataError`."""
        return passage(record)

    def _distinct(self, limit: int | None) -> tuple[tuple[Passage, ...], str]:
        """Return different passages and a remark. Raises `DataError` for none, or an id with two contents."""
        kept: dict[str, Passage] = {}
        places: dict[str, str] = {}
        repaired, dropped = Tally(), Tally()
        for record in islice(self.records(), limit):
            found = self.passage(record)
            if found.id and kept.get(found.id, found) != found:
                first = places[found.id].removeprefix(f"{self.path}:")
                raise record.unusable("id", f"the id {found.id!r} of line {first} again", "unique ids")
            if not found.id:
                found = Passage(content_id(found.title, found.text), found.title, found.text)
                repaired.add("no id, made of the content", record.place)
            if found.id in kept:
                dropped.add("the same passage again", record.place)
            kept[found.id], places[found.id] = found, places.get(found.id, record.place)
        if not kept:
            raise DataError(f"{self.path}: got no record, expected at least one")
        return tuple(kept.values()), "; ".join(filter(None, (repaired.told("repaired"), dropped.told("dropped"))))


def passage(record: Record, title: str = "title", text: Sequence[str] = ("text", "contents")) -> Passage:
    """Return the passage of a record, its id "" if it has none. Raises `Unusable`.

    `contents` without a title has it in its first line; beside a title it is all text.
    """
    name, heading = record.id("id", "_id"), _title(record, title)
    if "contents" not in text or record.first("contents") is None or record.first(*text) != record.first("contents"):
        return Passage(name, heading, record.text(*text))
    contents = record.text("contents")
    line, _, rest = contents.partition("\n")
    if heading:
        return Passage(name, heading, rest.strip() if rest.strip() and unwrapped(line.strip()) == heading else contents)
    return Passage(name, unwrapped(line.strip()), rest.strip()) if rest.strip() else Passage(name, "", line.strip())


def _title(record: Record, name: str) -> str:
    value = record.first(name)
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value if math.isfinite(value) else None
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def unwrapped(title: str) -> str:
    """Return a title without quotes around the whole of it: those of `"Heroes" (album)` and `"A" or "B"` stay."""
    if title != (plain := unquoted(title)):
        return plain
    if len(title) < 2 or not title[0] == title[-1] == '"':
        return title
    inner = title[1:-1]
    at = inner.find('"')
    closes = at > 0 and not inner[at - 1].isspace() and inner[at - 1] not in "(["
    return title if closes else inner

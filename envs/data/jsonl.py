"""`jsonl`: passages and questions in JSON Lines, in the two layouts that are spread the most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sdsearch.envs.data import auto, flashrag, table
from sdsearch.envs.data.reading.files import format_of, records
from sdsearch.envs.data.reading.passages import FilePassages
from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record
from sdsearch.errors import DataError

READ = ("flashrag", "nq_open")
"""The layouts that are read here with nothing lost."""


class JsonlPassages(FilePassages):
    """One passage a line: `{id, contents}` whose first line is the title (Search-R1), or `{id, title, text}`.

    `_id` is as good as `id`, and `.jsonl.gz` as good as `.jsonl`. Blank lines are skipped, other fields ignored.
    """

    def records(self) -> Iterator[Record]:
        return _json(self.path)


class JsonlQuestions(FileQuestions):
    """One question a line: `{id, question, golden_answers}` (FlashRAG) or `{question, answer}` (NQ-open).

    The answers are a list or a single one, under `golden_answers`, `answers`, `answer` or `possible_answers`. A record
    without an id is named by its question. A layout with more in it is refused by its name.
    """

    def layout(self, first: Record) -> Layout:
        known = auto.known(first.fields)
        if known and known.name not in READ:
            raise DataError(
                f"{first.place}: got a record in the layout {known.name}, of which `jsonl` would lose a part: expected "
                f"`type: {known.name}`, or no `type`, which recognises it"
            )
        return Layout("jsonl", lambda fields: False, draft, flashrag.metadata)

    def records(self) -> Iterator[Record]:
        return _json(self.path)


def draft(record: Record) -> Draft:
    """Read a record."""
    return flashrag.plain(record, table.with_aliases(record))


def _json(path: Path) -> Iterator[Record]:
    found = format_of(path)
    if found in ("csv", "parquet"):
        raise DataError(f"{path}: is {found}, expected JSON Lines: write `type: table`, or no `type`")
    return records(path)

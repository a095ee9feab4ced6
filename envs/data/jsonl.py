"""Passages and questions from a JSON Lines file, one record a line, in the layouts in which people have them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import Field

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Passage, Question
from sdsearch.errors import DataError

LARGE, FIRST = 64 * 2**20, 1000
"""Bytes of a file that is looked at in part, and records of it that are."""


class JsonlPassages(Corpus):
    """One passage a line: `{id, contents}` whose first line is the title (Search-R1), or `{id, title, text}`.

    `_id` is as good as `id`, and `.jsonl.gz` as good as `.jsonl`. Blank lines are skipped, other fields ignored.
    """

    path: Path
    """The file; a relative path starts at the working directory."""
    limit: int | None = Field(None, ge=1)
    """Read only so many passages."""

    def inspect(self) -> str | None:
        """Read the beginning of a large file, and all of another."""
        if not self.path.is_file() or self.path.stat().st_size <= LARGE:
            return super().inspect()
        size = self.path.stat().st_size / 1e9
        return f"{len(unique(self.path, FIRST, passage)):,} passages at the beginning of {size:.1f} GB"

    def passages(self) -> Sequence[Passage]:
        return unique(self.path, self.limit, passage)


class JsonlQuestions(Dataset):
    """One question a line: `{id, question, golden_answers}` (FlashRAG) or `{question, answer}` (NQ-open).

    The answers are a list or a single string, under `golden_answers`, `answers`, `answer` or `possible_answers`
    (PopQA: a list written as a JSON string). A record without an id is named after the file and its line. A text that
    is quoted as a field of a CSV file (as in FlashRAG's TriviaQA) is unquoted. Other fields are ignored.
    """

    path: Path
    """The file; a relative path starts at the working directory."""
    limit: int | None = Field(None, ge=1)
    """Read only so many questions."""

    def questions(self) -> Sequence[Question]:
        return unique(self.path, self.limit, question)


class Record(NamedTuple):
    """A JSON object and where it stands; its methods raise `DataError` with file and line."""

    path: Path
    line: int
    fields: dict[str, Any]

    def wrong(self, got: str, expected: str) -> DataError:
        """Return the error that says so."""
        return DataError(f"{self.path}:{self.line}: got {got}, expected {expected}")

    def first(self, *names: str) -> Any:
        """Return the first field that is there and is not null."""
        return next((value for n in names if (value := self.fields.get(n)) is not None), None)

    def text(self, *names: str) -> str:
        """Return the first such field, which must be a text that is not blank."""
        value = self.first(*names)
        if not isinstance(value, str) or not value.strip():
            got = f"the fields {', '.join(self.fields)}" if value is None else f"{names[0]} {value!r}"
            raise self.wrong(got, f"a text under {' or '.join(names)}")
        return value.strip()

    def id(self, default: str = "") -> str:
        """Return `id` or `_id`, a number or a text, as a text."""
        value = self.first("id", "_id")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return default if value is None and default else self.text("id", "_id")

    def answers(self, *names: str) -> tuple[str, ...]:
        """Return the first such field as a tuple of different texts, at least one."""
        value = self.first(*names)
        if isinstance(value, str):
            value = [value] if not value.startswith("[") else _list(value)
        if not isinstance(value, list) or not all(isinstance(a, str | int | float) for a in value):
            got = f"the fields {', '.join(self.fields)}" if value is None else f"the answers {value!r}"
            raise self.wrong(got, f"texts under {' or '.join(names)}")
        texts = tuple(dict.fromkeys(text for a in value if (text := unquoted(str(a).strip()))))
        if not texts:
            raise self.wrong("no answer", f"at least one under {' or '.join(names)}")
        return texts


def passage(record: Record) -> Passage:
    """Return the passage of a record. Raises `DataError`."""
    if "contents" not in record.fields:
        title = record.fields.get("title")
        return Passage(record.id(), title.strip() if isinstance(title, str) else "", record.text("text", "contents"))
    title, _, text = record.text("contents").partition("\n")
    if not text.strip():
        return Passage(record.id(), "", title.strip())
    return Passage(record.id(), title.strip().removeprefix('"').removesuffix('"'), text.strip())


def question(record: Record) -> Question:
    """Return the question of a record. Raises `DataError`."""
    return Question(
        id=record.id(default=f"{record.path.name.partition('.')[0]}-{record.line}"),
        text=unquoted(record.text("question")),
        answers=record.answers("golden_answers", "answers", "answer", "possible_answers"),
    )


def records(path: Path) -> Iterator[Record]:
    """Yield the JSON objects of a file. Raises `DataError` at the first line that is none."""
    if not path.is_file():
        raise DataError(f"got {path}, which is no file, expected JSON Lines (relative paths start at {Path.cwd()})")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(_lines(file, path), 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                value = json.loads(text) if text else {}
                json.dumps(value, ensure_ascii=False).encode()
            except ValueError as error:
                raise DataError(f"{path}:{number}: got {line[:60]!r} ({error}), expected a JSON object") from error
            if not isinstance(value, dict):
                raise DataError(f"{path}:{number}: got {text[:60]}, expected a JSON object")
            if text:
                yield Record(path, number, value)


def _lines(file: Iterable[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from file
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: got {error}, expected a file that can be read to its end") from error


T = TypeVar("T", Passage, Question)


def unique(path: Path, limit: int | None, read: Callable[[Record], T]) -> tuple[T, ...]:
    """Return what `read` makes of each record, up to `limit`. Raises `DataError` for no record or an id used twice."""
    kept: dict[str, T] = {}
    lines: dict[str, int] = {}
    for record in islice(records(path), limit):
        item = read(record)
        if item.id in kept:
            raise record.wrong(f"the id {item.id!r} of line {lines[item.id]} again", "unique ids")
        kept[item.id], lines[item.id] = item, record.line
    if not kept:
        raise DataError(f"{path}: got no record, expected at least one")
    return tuple(kept.values())


def unquoted(text: str) -> str:
    """Undo the quoting of a CSV field: `"a ""b"" c"` is `a "b" c`; any other text stays as it is."""
    inner = text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"').strip()
    return text


def _list(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return [text]

"""`table`: questions or passages in a file of any format, with a map to the names of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from pydantic import Field

from sdsearch.config.component import Settings
from sdsearch.config.words import suggest
from sdsearch.core.question import Passage
from sdsearch.envs.data.reading.files import records
from sdsearch.envs.data.reading.passages import FilePassages, passage
from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, answerable, named, nested
from sdsearch.envs.data.reading.support import Support
from sdsearch.errors import DataError

ANSWERS = ("golden_answers", "answers", "answer", "possible_answers")
"""What people call the answers."""
ALIASES = ("answer_aliases", "aliases")
"""What people call further ones beside them."""


class QuestionFields(Settings):
    """What the fields of a question are called; "a.b" is the field b of the field a."""

    question: str = "question"
    """What is asked."""
    answers: list[str] | None = Field(None, min_length=1)
    """The fields whose contents are accepted, texts or lists of them; by default the first there is of golden_answers,
    answers, answer and possible_answers."""
    id: str | None = None
    """By default id or _id."""
    kind: str | None = None
    """What kind of question it is, for figures by kind."""
    source: str | None = None
    """Where it is from."""
    gold: str | None = None
    """The ids of the passages of the corpus that suffice, a list."""

    def given(self) -> Iterator[str]:
        """Yield the names that were given."""
        names = [self.question, *(self.answers or ()), self.id, self.kind, self.source, self.gold]
        yield from (name for name in names if name is not None)


class TableQuestions(FileQuestions):
    """JSON Lines, JSON, CSV, TSV or Parquet: `{type: table, path: x.csv, fields: {question: q, answers: [gold]}}`."""

    fields: QuestionFields = QuestionFields()
    """What the fields are called."""
    header: list[str] | None = Field(None, min_length=1)
    """The names of the columns, where the first line of a CSV file does not tell them."""

    def layout(self, first: Record) -> Layout:
        present(first, self.fields.given())
        return Layout("table", lambda fields: False, partial(draft, called=self.fields))

    def records(self) -> Iterator[Record]:
        return records(self.path, self.header)


class PassageFields(Settings):
    """What the fields of a passage are called; "a.b" is the field b of the field a."""

    text: str | None = None
    """By default text, or contents, whose first line is the title where no field is."""
    title: str = "title"
    """It may be missing."""
    id: str | None = None
    """By default id or _id; where there is none, the id is made of the content."""


class TablePassages(FilePassages):
    """JSON Lines, JSON, CSV, TSV or Parquet: `{type: table, path: x.tsv, fields: {text: passage}}`."""

    fields: PassageFields = PassageFields()
    """What the fields are called."""
    header: list[str] | None = Field(None, min_length=1)
    """The names of the columns, where the first line of a CSV file does not tell them."""

    def records(self) -> Iterator[Record]:
        for record in records(self.path, self.header):
            if record.number == 1:
                given = self.fields.model_fields_set
                present(record, (n for f in ("text", "title", "id") if f in given and (n := getattr(self.fields, f))))
            yield record

    def passage(self, record: Record) -> Passage:
        called = self.fields
        if called.id:
            record = Record(record.place, record.number, {**record.fields, "id": record.first(called.id)})
        return passage(record, called.title, (called.text,) if called.text else ("text", "contents"))


def present(record: Record, names: Iterable[str]) -> None:
    """Raise `DataError` for a name that a record has no field for."""
    for name in names:
        head = name if name in record.fields else name.partition(".")[0]
        if head not in record.fields:
            there = named(record.fields)
            raise DataError(f"{record.place}: got the fields {there}, expected {name}{suggest(name, record.fields)}")


def with_aliases(record: Record) -> Any:
    """Return the answers by the names that people give them, and the aliases beside them."""
    further = [value for name in ALIASES if (value := record.first(name)) is not None]
    return [record.required(*ANSWERS), *further] if further else record.required(*ANSWERS)


def draft(record: Record, called: QuestionFields) -> Draft:
    """Read a record by the names of its fields."""
    if called.answers and len(called.answers) > 1:
        accepted = [value for name in called.answers if (value := record.first(name)) is not None]
    else:
        accepted = record.required(*called.answers) if called.answers else with_aliases(record)
    answerable(record, record.fields)
    gold = nested(record.first(called.gold)) if called.gold else None
    ids = gold if isinstance(gold, list | tuple) else [] if gold is None else [gold]
    return Draft(
        record.text(called.question),
        accepted,
        record.id(called.id) if called.id else record.id("id", "_id"),
        record.word(called.kind) if called.kind else "",
        record.word(called.source) if called.source else "",
        Support(tuple(str(i) for i in ids if isinstance(i, str | int) and str(i).strip())),
    )

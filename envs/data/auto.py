"""`auto`: the layout of a file is recognised by its first record; what stands where a spec gives only a `path`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from sdsearch.envs.data import (
    bamboogle,
    flashrag,
    hotpotqa,
    musique,
    nq_open,
    popqa,
    search_r1,
    table,
    triviaqa,
    two_wiki,
)
from sdsearch.envs.data.reading.passages import FilePassages
from sdsearch.envs.data.reading.questions import FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, named
from sdsearch.errors import DataError

LAYOUTS = tuple(
    module.LAYOUT for module in (musique, two_wiki, hotpotqa, search_r1, flashrag, triviaqa, popqa, bamboogle, nq_open)
)
"""Each is asked in turn: what an earlier one takes, a later one need not tell apart."""


class AutoQuestions(FileQuestions):
    """Questions in any of the known layouts: `{path: hotpot_dev_distractor_v1.json}`, and `check --data` says which."""

    def layout(self, first: Record) -> Layout:
        return recognised(first)


class AutoPassages(FilePassages):
    """Passages with `text` or `contents`: `{path: corpus.jsonl}`, in any format."""

    def records(self) -> Iterator[Record]:
        for record in super().records():
            if record.number == 1 and (layout := known(record.fields)):
                raise DataError(
                    f"{self.path}: holds questions in the layout {layout.name}, expected passages; its paragraphs as a "
                    f"corpus are `corpus: {{type: paragraphs, of: {{path: {self.path}}}}}`"
                )
            yield record


def known(fields: Mapping[str, Any]) -> Layout | None:
    """Return the published layout that a record with these fields is of."""
    return next((layout for layout in LAYOUTS if layout.fits(fields)), None)


def recognised(first: Record) -> Layout:
    """Return the layout of a record, which may be no more than a question and its answers. Raises `DataError`."""
    if layout := known(first.fields):
        return layout
    if "question" in first.fields and any(name in first.fields for name in table.ANSWERS):
        return Layout("question and answers", lambda fields: False, partial(table.draft, called=table.QuestionFields()))
    if first.fields.keys() & {"text", "contents"} and "question" not in first.fields:
        raise DataError(f"{first.place}: got passages (the fields {named(first.fields)}), expected questions")
    raise DataError(
        f"{first.place}: got the fields {named(first.fields)}, expected texts under question, and under "
        f"{' or '.join(table.ANSWERS)}, or one of the layouts {', '.join(layout.name for layout in LAYOUTS)}; other "
        "names are mapped by `{type: table, fields: {question: ..., answers: [...]}}`, and `header: [...]` names the "
        "columns of a CSV file without names"
    )

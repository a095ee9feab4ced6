"""`bamboogle`: 125 questions of two steps that a search engine cannot answer in one (Press et al., 2210.03350)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record


class Bamboogle(FileQuestions):
    """Bamboogle: CSV or JSON with `Question` and `Answer`. It has no ids: they are made of the questions."""

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of Bamboogle."""
    return {"Question", "Answer"} <= fields.keys() and not isinstance(fields["Answer"], Mapping)


def draft(record: Record) -> Draft:
    """Read a record of Bamboogle."""
    return Draft(record.text("Question", "question"), record.required("Answer", "answer"), record.id("id"))


LAYOUT = Layout("bamboogle", fits, draft)

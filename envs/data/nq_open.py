"""`nq_open`: the questions of Natural Questions that have short answers (Lee et al., 1906.00300)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, nested


class NQOpen(FileQuestions):
    """NQ-open: `question` and `answer`, a list. It has no ids: they are made of the questions."""

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of NQ-open and no others."""
    return fields.keys() <= {"id", "question", "answer"} and isinstance(nested(fields.get("answer")), list)


def draft(record: Record) -> Draft:
    """Read a record of NQ-open."""
    return Draft(record.text("question"), record.required("answer"), record.id("id"))


LAYOUT = Layout("nq_open", fits, draft)

"""`musique`: MuSiQue (Trivedi et al., 2108.00573), questions of two to four steps, composed of single ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, answerable
from sdsearch.envs.data.reading.support import paragraphs, support


class MuSiQue(FileQuestions):
    """MuSiQue: `id`, `paragraphs`, `question`, `question_decomposition`, `answer`, `answer_aliases`, `answerable`.

    Gold are the supporting paragraphs, the steps are the decomposition ("#1" being the answer of the first), and the
    kind is what the id begins with, such as 3hop1. A question that is marked as not answerable is left out.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of MuSiQue."""
    composed = "question_decomposition" in fields or {"paragraphs", "answerable"} <= fields.keys()
    return "question" in fields and composed


def draft(record: Record) -> Draft:
    """Read a record of MuSiQue."""
    answerable(record, record.fields)
    name = record.id("id")
    return Draft(
        record.text("question"),
        [record.required("answer"), record.first("answer_aliases") or []],
        name,
        name.partition("__")[0] if "hop" in name.partition("__")[0] else "",
        support=support(record, record.fields, paragraphs(record, record.fields)),
    )


LAYOUT = Layout("musique", fits, draft)

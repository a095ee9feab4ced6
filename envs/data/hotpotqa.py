"""`hotpotqa`: questions over two paragraphs, with the paragraphs (Yang et al., 1809.09600)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record
from sdsearch.envs.data.reading.support import paragraphs, support


class HotpotQA(FileQuestions):
    """HotpotQA: `_id` or `id`, `question`, `answer`, `type`, `supporting_facts` and `context`.

    The two last are lists of pairs (the original) or columns (Hugging Face). Gold are the paragraphs with a supporting
    sentence; the kind is the type, bridge or comparison. It names no decomposition.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of HotpotQA."""
    return {"question", "context", "supporting_facts"} <= fields.keys()


def draft(record: Record) -> Draft:
    """Read a record of HotpotQA, or of a data set that took over its fields."""
    return Draft(
        record.text("question"),
        record.required("answer"),
        record.id("_id", "id"),
        record.word("type"),
        support=support(record, record.fields, paragraphs(record, record.fields)),
    )


LAYOUT = Layout("hotpotqa", fits, draft)

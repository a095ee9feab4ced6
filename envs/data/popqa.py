"""`popqa`: questions on entities of Wikidata, popular ones and others (Mallen et al., 2212.10511)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record


class PopQA(FileQuestions):
    """PopQA: TSV, CSV, JSON or Parquet with `id`, `prop`, `question` and `possible_answers`, a JSON list in a text.

    The kind is the relation that is asked for, such as occupation.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of PopQA."""
    return {"question", "possible_answers", "prop"} <= fields.keys()


def draft(record: Record) -> Draft:
    """Read a record of PopQA."""
    return Draft(record.text("question"), record.required("possible_answers"), record.id("id"), record.word("prop"))


LAYOUT = Layout("popqa", fits, draft)

"""`flashrag`: the layout to which FlashRAG has brought some forty data sets (Jin et al., 2405.13576)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, answerable, nested
from sdsearch.envs.data.reading.support import paragraphs, support


class FlashRAG(FileQuestions):
    """FlashRAG: JSON Lines with `id`, `question`, `golden_answers` and `metadata` (UltraRAG: `meta_data`).

    What the metadata keep of HotpotQA, 2WikiMultihopQA, MuSiQue and PopQA is read as there: paragraphs, gold,
    decomposition and kind.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of FlashRAG."""
    return {"question", "golden_answers"} <= fields.keys()


def metadata(record: Record) -> Mapping[str, Any]:
    """Return the metadata; empty where there are none, or none that can be read."""
    about = nested(record.first("metadata", "meta_data"))
    return about if isinstance(about, Mapping) else {}


def draft(record: Record) -> Draft:
    """Read a record of FlashRAG."""
    return plain(record, record.required("golden_answers"))


def plain(record: Record, accepted: Any) -> Draft:
    """Read a record whose answers are known already; the metadata say the rest."""
    about = metadata(record)
    for fields in (record.fields, about):
        answerable(record, fields)
    kind = next((about[name] for name in ("type", "prop") if isinstance(about.get(name), str)), "")
    named = support(record, about, paragraphs(record, about))
    return Draft(record.text("question"), accepted, record.id("id", "_id"), kind, support=named)


LAYOUT = Layout("flashrag", fits, draft, metadata)

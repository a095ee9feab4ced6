"""`two_wiki`: 2WikiMultihopQA (Ho et al., 2011.01060): two to four paragraphs a question, and the facts between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.hotpotqa import draft
from sdsearch.envs.data.reading.questions import FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record

TYPES = ("compositional", "inference", "bridge_comparison")
"""What 2WikiMultihopQA calls kinds that HotpotQA has not."""


class TwoWiki(FileQuestions):
    """2WikiMultihopQA: the fields of HotpotQA and `evidences`, triples of subject, relation and object.

    The triples are the decomposition; each is told by the gold paragraph on its subject.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of 2WikiMultihopQA."""
    ours = "evidences" in fields or fields.get("type") in TYPES
    return ours and {"question", "context", "supporting_facts"} <= fields.keys()


LAYOUT = Layout("two_wiki", fits, draft)

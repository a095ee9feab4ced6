"""An attempt taken apart: what was thought, asked, read and answered, turn by turn, without tags.

A hint that retells an attempt chooses among these parts: SD-Search's "future masking" (2605.18299) keeps the queries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from sdsearch.core.trajectory import Trajectory

Kind = Literal["think", "query", "documents", "answer"]
TAG = re.compile(r"</?\w+>")


class Part(NamedTuple):
    """Something that was written or read in a turn."""

    turn: int
    kind: Kind
    text: str


def parts(trajectory: Trajectory) -> Iterator[Part]:
    """Yield the parts of an attempt in order, those without text left out.

    All that the model wrote before its action is "think", of an invalid action all that it wrote. What a search gave is
    "documents"; the notice that follows an invalid action is none.
    """
    segments = trajectory.segments
    for turn, did in enumerate(trajectory.turns):
        written = segments[2 * turn + 1].text if 2 * turn + 1 < len(segments) else ""
        observation = segments[2 * turn + 2].text if 2 * turn + 2 < len(segments) else ""
        before = written.rpartition(did.text)[0] if did.text and did.kind != "invalid" else written
        yield from _part(turn, "think", before)
        if did.kind == "search":
            yield from _part(turn, "query", did.text)
            yield from _part(turn, "documents", observation)
        elif did.kind == "answer":
            yield from _part(turn, "answer", did.text)


def _part(turn: int, kind: Kind, text: str) -> Iterator[Part]:
    if bare := TAG.sub(" ", text).strip():
        yield Part(turn, kind, bare)


NEXT = "What happens next:\n{events}\n\n"
"""The words round the events that `next_searches` tells."""


def next_searches(trajectory: Trajectory, count: int, max_words: int, template: str = NEXT) -> tuple[str | None, ...]:
    """Return for each turn what came of it: the passages of its search and of the `count` - 1 searches that follow.

    The queries of these stand with them, that of the turn itself is left out. None where there is nothing to tell.
    """
    queries = {p.turn: p.text for p in parts(trajectory) if p.kind == "query"}
    documents = {p.turn: p.text for p in parts(trajectory) if p.kind == "documents"}
    texts: list[str | None] = []
    for turn in range(len(trajectory.turns)):
        after = [t for t in sorted(documents) if t >= turn][:count]
        # A query that is nothing but tags has found passages and says nothing.
        lines = [line for t in after for line in (queries.get(t) if t > turn else None, documents[t]) if line]
        words = " ".join(lines).split()[:max_words]
        texts.append(template.format(events=" ".join(words)) if words else None)
    return tuple(texts)

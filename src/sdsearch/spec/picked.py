"""Which questions of a data set an evaluation asks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from sdsearch.core.question import Question


def picked(
    questions: Sequence[Question],
    each: int | None,
    how: Literal["first", "hash"] = "first",
    sources: Iterable[str] = (),
) -> list[Question]:
    """Return `each` questions of every source, in their order; None: all.

    One source comes after the other: first those that are named, then others as they are met.

    "hash" takes those whose ids have the smallest hashes: the same ones in whatever order the questions come, fewer of
    them a part of more.
    """
    places: defaultdict[str, list[int]] = defaultdict(list, {source: [] for source in sources})
    for place, question in enumerate(questions):
        places[question.source].append(place)
    if how == "hash":
        for of_source in places.values():
            of_source.sort(key=lambda place: hashlib.sha256(questions[place].id.encode()).digest())
    return [questions[place] for of_source in places.values() for place in sorted(of_source[:each])]

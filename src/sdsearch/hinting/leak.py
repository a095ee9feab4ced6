"""Whether a hint gives the accepted answer away.

A query that names the answer does so even where answers are masked; then the teacher's advantage is no hindsight.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.metrics import normalize_answer


def gives_away(text: str | None, answers: Sequence[str]) -> bool:
    """Say whether a text holds one of `answers` as whole words, both normalised as for an exact match.

    Words with nothing but punctuation between them are neighbours, those of two queries included.
    """
    words = f" {normalize_answer(text or '')} "
    return any(f" {known} " in words for known in map(normalize_answer, answers) if known)

"""How an answer compares with the accepted ones: exact match and F1, as in SQuAD, cover-EM; and what gives one away.

The rules are made for English. "der" and "le" are no articles here, accents and full-width digits count, and where
words are not parted by spaces, as in Chinese or Japanese, F1 is 1 or 0, as exact match is.

A query that names the answer tells a teacher as much as the answer does: that it then knows better is no hindsight.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sdsearch.core.trajectory import Trajectory

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower the case, drop ASCII punctuation and articles, squeeze spaces (Rajpurkar et al., 2016).

    Where nothing would be left (the blood group "A"), the articles and the punctuation stay: otherwise an answer
    without content would match it.
    """
    lowered = " ".join(text.lower().split())
    return " ".join(ARTICLES.sub(" ", lowered.translate(PUNCTUATION)).split()) or lowered


def exact_match(answer: str | None, answers: Sequence[str]) -> float:
    """Return 1.0 when `answer` equals one of `answers` after normalisation, else 0.0; None (no answer) scores 0.0."""
    if answer is None:
        return 0.0
    given = normalize_answer(answer)
    return float(bool(given) and any(given == normalize_answer(a) for a in answers))


def f1(answer: str | None, answers: Sequence[str]) -> float:
    """Return the best F1 over `answers` between the bags of normalised words, in [0, 1]; None scores 0.0."""
    if answer is None:
        return 0.0
    given = Counter(normalize_answer(answer).split())
    return max((overlap(given, Counter(normalize_answer(a).split())) for a in answers), default=0.0)


def overlap(given: Counter[str], accepted: Counter[str]) -> float:
    """Return the F1 of two bags of words: the harmonic mean of precision and recall."""
    total = given.total() + accepted.total()
    return 2 * (given & accepted).total() / total if total else 0.0


def cover_exact_match(answer: str | None, answers: Sequence[str]) -> float:
    """Return 1.0 when the normalised `answer` holds one of `answers`, normalised, else 0.0; None scores 0.0.

    The field's cover-EM (also sub-EM; Search-R1, R1-Searcher). Its hazards: it looks for characters and not for words,
    so that "know" holds "no" and "2017" holds "1"; and an answer that lists all that may be right is right. It is a
    figure beside exact match, and no reward to train on: the policy would learn to write long answers.
    """
    given = normalize_answer(answer or "")
    return float(bool(given) and any(known in given for known in map(normalize_answer, answers) if known))


def correct(trajectory: Trajectory, by: Literal["f1", "exact_match"] = "f1", above: float = 0.0) -> bool:
    """Say whether a trajectory's answer scores more than `above`; SD-Search: F1 above 0, so any shared word counts."""
    score = f1 if by == "f1" else exact_match
    return score(trajectory.answer, trajectory.question.answers) > above


def gives_away(text: str | None, answers: Sequence[str]) -> bool:
    """Say whether a text holds one of `answers` as whole words, both normalised as for an exact match.

    Words with nothing but punctuation between them are neighbours, those of two queries included.
    """
    words = f" {normalize_answer(text or '')} "
    return any(f" {known} " in words for known in map(normalize_answer, answers) if known)

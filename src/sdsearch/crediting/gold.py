"""What questions say beyond their text: accepted answers, gold passages, hops; and whether a search found them."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.core.answers import gives_away
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.errors import DataError


def answered(groups: Sequence[Group]) -> None:
    """Raise `DataError` for a question without an accepted answer."""
    for group in groups:
        if not group.question.answers:
            raise _missing(group.question, "accepted answer")


def annotated(question: Question) -> frozenset[str]:
    """Return the ids of a question's gold passages. Raises `DataError` when it names none."""
    if not question.gold:
        raise _missing(question, "gold passage")
    return frozenset(question.gold)


def new_hits(trajectory: Trajectory) -> list[frozenset[str]]:
    """Return for each turn the ids of the passages that it retrieved and no turn before it had."""
    turns = trajectory.turns
    seen = [frozenset(h for t in turns[:i] for h in t.hits) for i in range(len(turns))]
    return [frozenset(t.hits) - before for t, before in zip(turns, seen, strict=True)]


def shows_answer(trajectory: Trajectory, turn: int) -> bool:
    """Say whether what the agent was shown after a turn holds an accepted answer."""
    shown = trajectory.segments[2 * turn + 2 : 2 * turn + 3]
    return any(gives_away(s.text, trajectory.question.answers) for s in shown)


def _missing(question: Question, what: str) -> DataError:
    return DataError(
        f"question {question.id!r}: got no {what}, expected at least one: use data that has them, or another credit"
    )

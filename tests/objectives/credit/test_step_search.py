from collections.abc import Callable
from dataclasses import replace

import pytest

from sdsearch.core.question import Hop, Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import DataError
from sdsearch.objectives.credit.step_search import StepSearch

Attempt = Callable[..., Trajectory]
HOPS = Hop("Orly", "city", "Paris", "g1"), Hop("Paris", "country", "France", "g2")
QUESTION = Question("q", "Where?", ("France",), ("g1", "g2"), HOPS)
AGAIN = Turn("search", "Orly city", ("g1", "x")), Turn("search", "Orly city", ("g1", "y"))


def test_by_hand(attempt: Attempt) -> None:
    """The first search finds one of two gold passages, the second repeats half; one hop of two was asked for."""
    played = attempt(1, *AGAIN, Turn("answer", "France"), question=QUESTION)
    assert StepSearch().rewards(played) == pytest.approx([0.6 * 0.5, -0.6 * 0.5, 1 + 0.618 * 0.5])


def test_without_an_answer(attempt: Attempt) -> None:
    played = attempt(0, *AGAIN, Turn("invalid", "no action"), Turn("search", "x"), question=QUESTION)
    assert StepSearch(step=1).rewards(played) == pytest.approx([0.5, -0.5, 0, -1])


def test_returns_are_compared_within_the_group(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Rewards (1/2, 1) and (0): returns-to-go 3/2, 1 and 0, of mean 5/6 and variance 7/12."""
    plays = (
        attempt(1, AGAIN[0], Turn("answer", "France"), question=QUESTION),
        attempt(0, Turn("answer", "Spain"), question=QUESTION),
    )
    group = Group(QUESTION, plays)
    found = by_turns(group, StepSearch(key=0, step=1).of_group(group))
    unit = (7 / 12) ** 0.5
    assert found[0] == pytest.approx([(2 / 3) / unit, (1 / 6) / unit], rel=1e-5)
    assert found[1] == pytest.approx([(-5 / 6) / unit], rel=1e-5)


@pytest.mark.parametrize(("without", "what"), [("gold", "no gold passage"), ("hops", "no hops")])
def test_it_wants_annotations(attempt: Attempt, without: str, what: str) -> None:
    bare = replace(QUESTION, gold=()) if without == "gold" else replace(QUESTION, hops=())
    with pytest.raises(DataError, match=f"question 'q': got {what}, expected"):
        StepSearch().of_group(Group(bare, (attempt(0, *AGAIN, question=bare),)))

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.crediting.gold import new_hits
from sdsearch.errors import DataError
from sdsearch.objectives.credit.gold_passage import GoldPassage
from sdsearch.testing import check_credit, example_trajectory

Attempt = Callable[..., Trajectory]
QUESTION = Question("q", "Where?", ("here",), ("g1", "g2"))
ANSWER = Turn("answer", "here")


def search(*hits: str) -> Turn:
    return Turn("search", "what", hits)


@pytest.mark.parametrize("credit", [GoldPassage(), GoldPassage(returns="immediate")])
def test_contract(credit: GoldPassage) -> None:
    check_credit(credit)


def test_immediate_by_hand(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Shares 1/2, 0 and 1, of mean and deviation 1/2: the outcome does not matter."""
    plays = attempt(1, search("g1", "x"), ANSWER, question=QUESTION), attempt(0, search("g2", "g1"), question=QUESTION)
    group = Group(QUESTION, plays)
    found = by_turns(group, GoldPassage(returns="immediate").of_group(group))
    assert found == [[pytest.approx(0), pytest.approx(-1, rel=1e-5)], [pytest.approx(1, rel=1e-5)]]


def test_discounted_by_hand(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """The same passage counts once: shares 0, 1/2, 0 and with gamma 1/2 returns 1/4, 1/2, 0, of deviation 1/4."""
    group = Group(QUESTION, (attempt(0, search("x"), search("g1"), search("g1"), question=QUESTION),))
    found = by_turns(group, GoldPassage(gamma=0.5).of_group(group))
    assert found == [[pytest.approx(0), pytest.approx(1, rel=1e-4), pytest.approx(-1, rel=1e-4)]]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=3), max_size=5))
def test_every_hit_is_new_once(hits: list[list[str]]) -> None:
    bare = example_trajectory(QUESTION, [("search", "x")] * len(hits), 0)
    turns = tuple(Turn("search", "x", tuple(own)) for own in hits)
    found = new_hits(Trajectory(QUESTION, bare.segments, turns, "max_turns", 0))
    assert sorted(h for own in found for h in own) == sorted({h for own in hits for h in own})


def test_it_wants_gold_passages(attempt: Attempt) -> None:
    with pytest.raises(DataError, match="got no gold passage, expected at least one: use data that has them"):
        GoldPassage().of_group(Group(attempt(0, ANSWER).question, (attempt(0, ANSWER),)))

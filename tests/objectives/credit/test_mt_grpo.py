from collections.abc import Callable
from dataclasses import replace

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import DataError
from sdsearch.objectives.credit.mt_grpo import MTGRPO
from sdsearch.testing import check_credit

Attempt = Callable[..., Trajectory]
ByTurn = Callable[..., list[list[float]]]
INVALID, SEARCH, ANSWER = Turn("invalid", "no action"), Turn("search", "what"), Turn("answer", "here")
UNIT = 0.5 / (0.5**0.5 + 1e-6)
"""What a difference of two numbers becomes."""


@pytest.mark.parametrize(
    "credit", [MTGRPO(), MTGRPO(without_result="before"), MTGRPO(variant="cae", reward="gold_passage")]
)
def test_contract(credit: MTGRPO) -> None:
    check_credit(credit)


def test_aae_by_hand(attempt: Attempt, by_turns: ByTurn) -> None:
    good = attempt(1, INVALID, SEARCH, SEARCH, ANSWER, shown=["Try again.", "It is (Here).", "no"])
    bad = attempt(0, SEARCH, SEARCH, ANSWER, shown=["Nothing there.", "It is here."])
    group = Group(good.question, (good, bad))
    found = by_turns(group, MTGRPO(coefficient=0.5).of_group(group))
    assert found[0] == pytest.approx([1.5 * UNIT, 1.5 * UNIT, UNIT, UNIT])
    assert found[1] == pytest.approx([-1.5 * UNIT, -UNIT, -UNIT])


def test_cae_by_hand(attempt: Attempt, by_turns: ByTurn) -> None:
    """The found answer is worth 1, the outcome 1/2: the first attempt is better before its result and worse after."""
    plays = attempt(0, SEARCH, ANSWER, shown=["It is here."]), attempt(1, SEARCH, ANSWER, shown=["Where?"])
    group = Group(plays[0].question, plays)
    found = by_turns(group, MTGRPO(variant="cae", gamma=0.5).of_group(group))
    assert found == [
        [pytest.approx(0.25 / (0.125**0.5 + 1e-6)), pytest.approx(-UNIT)],
        [pytest.approx(-0.25 / (0.125**0.5 + 1e-6)), pytest.approx(UNIT)],
    ]


def test_gold_passages(attempt: Attempt, by_turns: ByTurn) -> None:
    known = Question("q", "Where?", ("here",), ("g",))
    hits = [("x", "g"), ("x",)]
    plays = tuple(attempt(1, replace(SEARCH, hits=h), ANSWER, question=known) for h in hits)
    group = Group(known, plays)
    assert by_turns(group, MTGRPO(reward="gold_passage").of_group(group)) == [
        [pytest.approx(UNIT), 0],
        [pytest.approx(-UNIT), 0],
    ]
    later = attempt(1, INVALID, replace(SEARCH, hits=("g",)), ANSWER, question=known)
    second = attempt(1, replace(SEARCH, hits=("x",)), replace(SEARCH, hits=("g",)), ANSWER, question=known)
    assert [MTGRPO(reward="gold_passage").search_reward(t, turn) for t, turn in ((later, 1), (second, 0))] == [1, 0]
    with pytest.raises(DataError, match="question 'q': got no gold passage"):
        MTGRPO(reward="gold_passage").of_group(Group(plays[0].question, (attempt(1, SEARCH), attempt(0, SEARCH))))


def test_without_a_result_there_is_one_number(attempt: Attempt, by_turns: ByTurn) -> None:
    """Turn rewards 0, 1, 0 and outcomes 1, 0, 0: sums of 1, 1 and 0. The last search is shown no result."""
    plays = attempt(1, INVALID, ANSWER), attempt(0, SEARCH, ANSWER, shown=["It is here."]), attempt(0, INVALID, SEARCH)
    group, unit = Group(plays[0].question, plays), 3**0.5
    first, second, third = by_turns(group, MTGRPO(coefficient=0.5).of_group(group))
    assert first == pytest.approx([unit / 3] * 2, rel=1e-5)
    assert second == pytest.approx([-unit / 3 + 0.5 * unit * 2 / 3, -unit / 3], rel=1e-5)
    assert third == pytest.approx([-2 * unit / 3] * 2, rel=1e-5)
    first, again, third = by_turns(group, MTGRPO(coefficient=0.5, without_result="before").of_group(group))
    assert first == pytest.approx([unit * 2 / 3 - 0.5 * unit / 3] * 2, rel=1e-5)
    assert again == second
    assert third == pytest.approx([-unit / 3 - 0.5 * unit / 3] * 2, rel=1e-5)
    one, _, three = by_turns(group, MTGRPO(variant="cae").of_group(group))
    assert one == pytest.approx([unit / 3] * 2, rel=1e-5)
    assert three == pytest.approx([-2 * unit / 3] * 2, rel=1e-5)

from collections.abc import Callable

import pytest

from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.crediting.baselines import anchors
from sdsearch.objectives.credit.gigpo import GiGPO
from sdsearch.testing import check_credit

Attempt = Callable[..., Trajectory]
ANSWER = Turn("answer", "here")


def search(*hits: str) -> Turn:
    return Turn("search", "what", hits)


@pytest.mark.parametrize("credit", [GiGPO(), GiGPO(norm="mean_std_norm", similarity=0.5)])
def test_contract(credit: GiGPO) -> None:
    check_credit(credit)


def test_by_hand(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Returns with gamma 1/2: (1/2, 1), (0, 0), (0, 0); the first two saw p1, the third stands alone."""
    plays = attempt(1, search("p1"), ANSWER), attempt(0, search("p1"), ANSWER), attempt(0, search("p2"), ANSWER)
    group = Group(plays[0].question, plays)
    found = by_turns(group, GiGPO(step_weight=2, gamma=0.5).of_group(group))
    assert found[0] == pytest.approx([2 / 3 + 2 / 3, 2 / 3 + 1])
    assert found[1] == pytest.approx([-1 / 3 - 1 / 3, -1 / 3 - 1])
    assert found[2] == pytest.approx([-1 / 3 - 1 / 3, -1 / 3])


def test_with_deviations(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    group = Group(attempt(1, ANSWER).question, (attempt(1, ANSWER), attempt(0, ANSWER)))
    expected = 2 * 0.5 / (0.5**0.5 + 1e-6)
    assert by_turns(group, GiGPO(norm="mean_std_norm").of_group(group)) == [[pytest.approx(expected)], [-expected]]


def test_anchors_that_are_alike(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Half of the passages are the same: the ratio is 1/2."""
    plays = attempt(1, search("p1", "p2"), ANSWER), attempt(0, search("p1", "p3"), ANSWER)
    group = Group(plays[0].question, plays)
    assert by_turns(group, GiGPO(gamma=1).of_group(group)) == [[1.0, 0.5], [-1.0, -0.5]]
    assert by_turns(group, GiGPO(gamma=1, similarity=0.5).of_group(group)) == [[1.0, 1.0], [-1.0, -1.0]]


def test_turns_meet_wherever_they_are(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """The second turn of the one and the third of the other saw p1."""
    plays = attempt(1, search("p1"), ANSWER), attempt(0, search("p2"), search("p1"), ANSWER)
    group = Group(plays[0].question, plays)
    assert by_turns(group, GiGPO(gamma=1).of_group(group)) == [[1.0, 1.0], [-1.0, -0.5, -1.0]]


def test_anchors(attempt: Attempt) -> None:
    played = attempt(0, Turn("invalid", "no action"), search(), search("p1", "p2"), search("p3"))
    assert anchors(played) == [("", "question"), ("", "invalid"), ("", "nothing"), ("p1", "p2")]
    assert anchors(attempt(0)) == []

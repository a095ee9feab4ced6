from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Teacher
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import DataError
from sdsearch.objectives.credit.igpo import IGPO
from sdsearch.testing import check_credit

Attempt = Callable[..., Trajectory]
ByTurn = Callable[..., list[list[float]]]
SEARCH, ANSWER, WRONG = Turn("search", "what"), Turn("answer", "here"), Turn("answer", "there")


class Belief(Probe):
    """Knows the probabilities of the accepted answers at each turn."""

    def __init__(self, *rows: Sequence[Sequence[float]]) -> None:
        self.rows = rows

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        return [np.log(np.array(own, np.float64)) for own in self.rows]


NONE = [np.nan, np.nan]


@pytest.mark.parametrize("credit", [IGPO(), IGPO(outcome="reward", gamma=0.5), IGPO(standardise="separate")])
def test_contract(credit: IGPO) -> None:
    check_credit(credit)


def test_by_hand(attempt: Attempt, by_turns: ByTurn) -> None:
    """The first search takes the better answer from 0.1 to 0.6; rewards 0.5, 1 and 0 become 0, 1 and -1."""
    group = Group(attempt(1).question, (attempt(0, SEARCH, ANSWER), attempt(1, WRONG)))
    probe = Belief([[0.1, 0.05], [0.2, 0.6], NONE], [[0.1, 0.05], NONE])
    found = by_turns(group, IGPO(gamma=0.5).advantages([group], probe).values)
    assert found == [[pytest.approx(0.5, rel=1e-5), pytest.approx(1, rel=1e-5)], [pytest.approx(-1, rel=1e-5)]]


def test_gains_and_outcomes_by_themselves(attempt: Attempt, by_turns: ByTurn) -> None:
    """Gains of 0.5 and 0.1, outcomes of 1 and 0: together of mean 0.4 and deviation sqrt(0.62 / 3)."""
    group = Group(attempt(1).question, (attempt(0, SEARCH, ANSWER), attempt(1, SEARCH, WRONG)))
    probe, pair = Belief([[0.1], [0.6], [np.nan]], [[0.1], [0.2], [np.nan]]), 0.5**0.5
    found = by_turns(group, IGPO(standardise="separate").advantages([group], probe).values)
    assert found == [pytest.approx([2 * pair, pair], rel=1e-5), pytest.approx([-2 * pair, -pair], rel=1e-5)]
    unit = (0.62 / 3) ** 0.5
    found = by_turns(group, IGPO().advantages([group], probe).values)
    assert found[0] == pytest.approx([0.7 / unit, 0.6 / unit], rel=1e-5)
    assert found[1] == pytest.approx([-0.7 / unit, -0.4 / unit], rel=1e-5)


def test_the_reward_as_outcome(attempt: Attempt) -> None:
    told = np.log(np.array([[0.1], [0.6], [np.nan]]))
    assert IGPO(outcome="reward").rewards(attempt(0.25, SEARCH, ANSWER), told) == pytest.approx([0.5, 0.25])
    assert IGPO().rewards(attempt(0.25, SEARCH, ANSWER), told) == pytest.approx([0.5, 1.0])
    assert IGPO().rewards(attempt(0.0), told[:1]).tolist() == []


def test_an_episode_that_never_answers_ends_with_nothing(attempt: Attempt) -> None:
    told = np.log(np.array([[0.1], [0.6], [0.9]]))
    assert IGPO().rewards(attempt(0, SEARCH, SEARCH), told) == pytest.approx([0.5, 0.0])


def test_it_wants_answers(attempt: Attempt) -> None:
    open_ended = Question("q7", "Where?", ())
    group = Group(open_ended, (attempt(0, ANSWER, question=open_ended),))
    with pytest.raises(DataError, match="question 'q7': got no accepted answer, expected at least one"):
        IGPO().advantages([group], Probe())

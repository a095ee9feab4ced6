from collections.abc import Sequence

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.objectives.rollouts.mixed import Mixed
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.testing import example_trajectory

LOTS = ["abc", "DeF", "GHi", "JKL"]
"""Questions by lot: the groups of capital letters are mixed."""


class Told(EpisodeCollector):
    """A play whose episodes are known beforehand; it keeps which questions were asked."""

    asked: str = ""

    def collect(self, questions: Sequence[Question], group: int) -> list[Group]:
        assert group == 2
        self.asked += "".join(q.id for q in questions)
        return [
            Group(q, tuple(example_trajectory(q, [("answer", "x")], float(q.id.isupper() and i)) for i in range(group)))
            for q in questions
        ]


def lot(number: int) -> list[Question]:
    return [Question(q, "Where?", ("here",)) for q in LOTS[number]] if number < len(LOTS) else []


def told(first: int) -> Told:
    def none(questions: Sequence[Question]) -> None:
        raise AssertionError("nothing is to be played")

    return Told(none, None, lot(first), 2, 7, 3, lambda number: lot(first + number))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "rounds", "chosen", "asked"),
    [
        (0, 1, "abc", "abc"),  # one round: whatever comes
        (0, 2, "DFa", "abcDeF"),  # filled with the first that were asked
        (0, 3, "DFG", "abcDeFGHi"),  # one too many is dropped
        (0, 9, "DFG", "abcDeFGHi"),  # enough: asks no further
        (3, 9, "JKL", "JKL"),
        (2, 9, "GHJ", "GHiJKL"),
    ],
)
def test_which_groups_are_learned_from(first: int, rounds: int, chosen: str, asked: str) -> None:
    play = told(first)
    groups = Mixed(rounds=rounds).collect(play)
    assert "".join(g.question.id for g in groups) == chosen
    assert play.asked == asked


def test_it_stops_where_there_are_no_more_questions() -> None:
    play = told(3)
    play.questions = lot(0)
    assert "".join(g.question.id for g in Mixed(rounds=9).collect(play)) == "abc"

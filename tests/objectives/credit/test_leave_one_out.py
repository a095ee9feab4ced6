import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.leave_one_out import LeaveOneOut
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def credits(*rewards: float) -> list[list[float]]:
    plays = (example_trajectory(QUESTION, [("answer", "here")], r) for r in rewards)
    return [a.tolist() for a in LeaveOneOut().of_group(Group(QUESTION, tuple(plays)))]


def test_by_hand() -> None:
    assert credits(1.0, 0.0, 0.5) == [[0.75] * 4, [-0.75] * 4, [0.0] * 4]
    assert credits(4.0, 0.0, 0.0, 0.0) == [[4.0] * 4, *[[pytest.approx(-4 / 3)] * 4] * 3]


def test_a_group_of_one_keeps_its_reward() -> None:
    assert credits(0.5) == [[0.5] * 4]


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(2, 9))
def test_equal_rewards_give_exactly_nothing(reward: float, size: int) -> None:
    assert credits(*[reward] * size) == [[0.0] * 4] * size


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_is_the_paper_s_formula(rewards: list[float]) -> None:
    n, mean = len(rewards), sum(rewards) / len(rewards)
    expected = [n / (n - 1) * (r - mean) for r in rewards]
    assert [c[0] for c in credits(*rewards)] == pytest.approx(expected, abs=1e-9)

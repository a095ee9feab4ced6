import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.crediting.baselines import group_advantages
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.testing import check_credit, example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def credits(credit: GroupMean, *rewards: float) -> list[list[float]]:
    plays = (example_trajectory(QUESTION, [("answer", "here")], r) for r in rewards)
    return [a.tolist() for a in credit.of_group(Group(QUESTION, tuple(plays)))]


@pytest.mark.parametrize("credit", [GroupMean(), GroupMean(scale="none", weight=2.0)])
def test_contract(credit: GroupMean) -> None:
    check_credit(credit)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1.0, 0.0], [0.5, -0.5]),  # unbiased std: sqrt(1/2)
        ([4.0, 0.0, 0.0, 0.0], [3.0, -1.0, -1.0, -1.0]),  # std 2
        ([1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]),  # std 1
    ],
)
def test_by_hand(rewards: list[float], expected: list[float]) -> None:
    std = {2: 0.5**0.5, 4: 2.0, 3: 1.0}[len(rewards)]
    assert credits(GroupMean(scale="none"), *rewards) == [[e] * 4 for e in expected]
    scaled = [[e / (std + 1e-6)] * 4 for e in expected]
    assert np.allclose(credits(GroupMean(), *rewards), scaled, rtol=1e-12)


def test_eps() -> None:
    assert credits(GroupMean(eps=1.0), 1.0, 2.0, 3.0)[2] == pytest.approx([0.5] * 4)


@pytest.mark.parametrize("credit", [GroupMean(), GroupMean(scale="none")])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1])
def test_equal_rewards_are_no_signal(credit: GroupMean, reward: float) -> None:
    assert credits(credit, *[reward] * 3) == [[0.0] * 4] * 3


def test_a_group_of_one_keeps_its_reward() -> None:
    assert credits(GroupMean(), 0.5)[0] == pytest.approx([0.5] * 4, rel=1e-5)
    assert credits(GroupMean(scale="none"), 0.5) == [[0.5] * 4]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-3, 3))
def test_sums_to_zero_and_ignores_a_shift(rewards: list[float], shift: float) -> None:
    advantages = group_advantages(rewards, "none")
    assert sum(advantages) == pytest.approx(0, abs=1e-9)
    assert group_advantages([r + shift for r in rewards], "none") == pytest.approx(advantages, abs=1e-9)

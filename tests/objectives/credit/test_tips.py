from collections.abc import Callable, Sequence
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Teacher
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.objectives.credit.tips import TIPS
from sdsearch.testing import check_credit, example_trajectory

SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")
NAN = float("nan")


class Potential(Probe):
    """Knows the log-likelihood of one accepted answer at each turn."""

    def __init__(self, *values: Sequence[float]) -> None:
        self.rows = values
        self.asked: list[str] = []

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        self.asked.append(teacher)
        return [np.array(own, np.float64)[:, None] for own in self.rows]


@pytest.mark.parametrize("credit", [TIPS(), TIPS(settle=True, teacher="live", gamma=0.5)])
def test_contract(credit: TIPS) -> None:
    check_credit(credit)


def test_by_hand(attempt: Callable[..., Trajectory], by_turns: Callable[..., list[list[float]]]) -> None:
    """A rise by 2 nats is worth 1: returns-to-go are 2, 1 and 0, which is 1, 0 and -1 in units of their deviation."""
    group = Group(attempt(1).question, (attempt(1, SEARCH, ANSWER), attempt(0, ANSWER)))
    probe = Potential([-3, -1, NAN], [-3, NAN])
    found = by_turns(group, TIPS(scale=0.5).advantages([group], probe).values)
    assert found[0] == pytest.approx([1, 0], abs=1e-5)
    assert found[1] == pytest.approx([-1], rel=1e-5)
    assert probe.asked == ["frozen"]


def test_potential_of_several_answers(attempt: Callable[..., Trajectory]) -> None:
    """Two answers of the same likelihood are ln 2 more than one; the turn that used up the episode counts as well."""
    told = np.array([[-2.0, -2.0], [-900.0, -1.0], [-1.0, -1.0]])
    rewards = TIPS(scale=1).rewards(attempt(0, SEARCH, SEARCH), told)
    assert rewards == pytest.approx([-1 - (-2 + log(2)), log(2)])


@settings(deadline=None)
@given(st.lists(st.floats(-9, 0), min_size=1, max_size=5), st.sampled_from([0.0, 1.0]))
def test_a_settled_episode_earns_its_reward_and_nothing_for_its_way(potential: list[float], reward: float) -> None:
    """Whatever the potentials on the way: the sum of the rewards depends on the first one only."""
    actions = [("search", "x")] * (len(potential) - 1) + [("answer", "here")]
    played = example_trajectory(Question("q", "Where?", ("here",)), actions, reward)
    told = np.array([*potential, NAN])[:, None]
    total = TIPS(scale=0.1, settle=True).rewards(played, told).sum()
    assert total == pytest.approx(reward - 0.1 * potential[0])


def test_what_it_needs() -> None:
    assert TIPS().needs == {"frozen"}
    assert TIPS(teacher="live").needs == frozenset()

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.objectives.credit.gigpo import GiGPO
from sdsearch.objectives.credit.hgpo import HGPO
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def test_by_hand(attempt: Callable[..., Trajectory], by_turns: Callable[..., list[list[float]]]) -> None:
    """All see p3 before they answer, the first and the third with the same past: weights 1 and 2."""

    def play(reward: float, first: str) -> Trajectory:
        return attempt(reward, Turn("search", "a", (first,)), Turn("search", "b", ("p3",)), Turn("answer", "here"))

    group = Group(QUESTION, (play(1, "p1"), play(0, "p2"), play(0, "p1")))
    found = by_turns(group, HGPO(depth=1, alpha=1, gamma=1).of_group(group))
    assert found[0] == pytest.approx([2 / 3 + 2 / 3, 2 / 3 + 1 / 2, 2 / 3 + (2 / 3 + 2 / 2) / 3])
    assert found[1] == pytest.approx([-1 / 3 - 1 / 3, -1 / 3, -1 / 3 - 1 / 3])
    assert found[2] == pytest.approx([-1 / 3 - 1 / 3, -1 / 3 - 1 / 2, -1 / 3 + (-1 / 3 - 2 / 2) / 3])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("ab"), max_size=3), st.sampled_from([0.0, 1.0])), min_size=1, max_size=5
    )
)
def test_without_history_it_is_gigpo(plays: list[tuple[list[str], float]]) -> None:
    """Every attempt is a few searches, each of which finds one of two passages."""
    group = Group(QUESTION, tuple(played(hits, reward) for hits, reward in plays))
    pairs = zip(HGPO(depth=0).of_group(group), GiGPO().of_group(group), strict=True)
    assert all(one == pytest.approx(two) for one, two in pairs)


def played(hits: list[str], reward: float) -> Trajectory:
    bare = example_trajectory(QUESTION, [("search", "x")] * len(hits), reward)
    return Trajectory(QUESTION, bare.segments, tuple(Turn("search", "x", (h,)) for h in hits), "max_turns", reward)

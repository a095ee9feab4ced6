"""Trees of rollouts: who shares which state, and what it is worth."""

from dataclasses import replace

import numpy as np
import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.branching import drawn, outcomes, owner, worth
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def leaf(reward: float, branch: tuple[int, int] | None = None, turns: int = 3) -> Trajectory:
    return replace(example_trajectory(QUESTION, [("search", "x")] * turns, reward), branch=branch)


# 0 is left at turn 1 by 2 and 3; 3 at turn 2 by 4; 1 is a tree of its own, left at the question by 5.
FOREST = Group(QUESTION, (leaf(1), leaf(0), leaf(0, (0, 1)), leaf(0, (0, 1)), leaf(0.5, (3, 2)), leaf(1, (1, 0))))


@pytest.mark.parametrize(
    ("place", "first", "samples"),
    [
        ((4, 0), (0, 0), [0, 1, 5]),
        ((5, 0), (1, 0), [0, 1, 5]),
        ((4, 1), (0, 1), [0, 2, 3]),
        ((4, 2), (3, 2), [3, 4]),
        ((2, 2), (2, 2), [2]),
        ((5, 1), (5, 1), [5]),
    ],
)
def test_states(place: tuple[int, int], first: tuple[int, int], samples: list[int]) -> None:
    assert owner(FOREST, place) == first
    assert drawn(FOREST, place) == samples


def test_every_action_counts_the_same() -> None:
    """Before turn 1 of the first: 1, 0, and (0 + 1/2) / 2, however many leaves there are behind each."""
    assert outcomes(FOREST, (0, 1)) == [1, 0, 0.25]
    assert worth(FOREST, (3, 1)) == pytest.approx(1.25 / 3)
    assert worth(FOREST, (0, 0)) == pytest.approx((1.25 / 3 + 0 + 1) / 3)
    assert worth(FOREST, (2, 3)) == 0


def test_outages_are_no_outcome() -> None:
    lost = replace(FOREST.trajectories[3], stop_reason="retriever_unavailable", reward=9)
    group = Group(QUESTION, (*FOREST.trajectories[:3], lost, *FOREST.trajectories[4:]))
    assert outcomes(group, (0, 1)) == [1, 0, 0.5]
    alone = Group(QUESTION, (replace(leaf(9), stop_reason="retriever_unavailable"),))
    assert np.isnan(worth(alone, (0, 0)))

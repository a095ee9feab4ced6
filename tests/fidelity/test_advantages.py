"""The estimator, against numbers by hand and against advantages that are known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sdsearch.core.trajectory import Fork, Group
from sdsearch.fidelity.advantages import difference, estimate, wilson
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem

PROBLEM = SearchProblem()


def test_wilson_is_the_textbook_interval() -> None:
    # z = 1.96: 81 of 263 is the example of Newcombe (1998), table I.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    low, high = wilson(0.0, 10)
    assert (low, high) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_difference_by_hand() -> None:
    after, before = np.array([1.0, 1, 1, 0]), np.array([0.0, 1, 0, 0])
    value, error, low, high, even, odd = difference(after, before)
    assert (value, even, odd) == (0.5, 1.0, 0.0)
    assert error == pytest.approx(np.sqrt(1 / 3) / 2)  # gaps 1 0 1 0: variance 1/3
    # Wilson of 3/4 is [0.3006, 0.9544], of 1/4 mirrored; the correlation of the pairs is 1/3.
    a, b = 0.75 - 0.3006, 0.9544 - 0.75
    assert value - low == pytest.approx(np.sqrt(a * a - 2 / 3 * a * a + a * a), abs=1e-3)
    assert high - value == pytest.approx(np.sqrt(b * b - 2 / 3 * b * b + b * b), abs=1e-3)


def test_a_known_end_has_the_error_of_the_start_alone() -> None:
    value, error, low, high, _, _ = difference(1.0, np.array([0.0, 1, 0, 0]))
    assert value == 0.75
    assert error == pytest.approx(0.25)
    assert (low, high) == pytest.approx((1 - 0.6994, 1 - 0.0456), abs=1e-3)
    assert difference(3.0, np.array([1.0, 3.0]), (1.0, 3.0))[2:4] == pytest.approx((0.1894, 1.8106), abs=1e-3)


def test_lost_continuations_are_left_out_in_pairs() -> None:
    after, before = np.array([1.0, np.nan, 0.0]), np.array([0.0, 0.0, np.nan])
    value, error, *_ = difference(after, before)
    assert value == 1.0
    assert np.isnan(error)
    assert np.isnan(difference(after, np.full(3, np.nan))).all()


def test_continuations_that_all_end_alike_prove_little() -> None:
    _, error, low, high, _, _ = difference(np.ones(16), np.ones(16))
    assert error == 0.0
    assert low < -0.15
    assert high > 0.15


def test_states_are_played_once() -> None:
    question = PROBLEM.question(0)
    first, second = (PROBLEM.recorded(question, actions) for actions in ([0, 0, 3], [0, 1, 3]))
    group = Group(
        question, (first, replace(second, branch=(0, 1)), replace(first, stop_reason="retriever_unavailable"))
    )
    asked: list[Fork] = []

    def count(forks: Sequence[Fork], k: int) -> list[Group]:
        asked.extend(forks)
        return ExactProbe(PROBLEM).continue_from(forks, k)

    found = estimate([group, Group(question, ())], count, 4)
    # The question, what both knew after one turn, and one state of their own each.
    assert [(f.trajectory.turns, f.turn) for f in asked] == [
        (first.turns, 0),
        (first.turns, 1),
        (first.turns, 2),
        (second.turns, 2),
    ]
    assert [a.value.shape for a in found] == [(3,), (3,)]
    assert found[0].value[0] == found[1].value[0]
    assert estimate([], count, 4) == []


def test_the_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """One turn of each of 300 independent episodes: 95 %, give or take three standard deviations of the binomial."""
    groups = PROBLEM.groups(300, 1, seed=1)
    dice = np.random.default_rng(0)
    covered, gaps = [], []
    for group, found in zip(groups, estimate(groups, ExactProbe(PROBLEM, 7).continue_from, 16), strict=True):
        true = PROBLEM.advantages(group.trajectories[0])
        turn = int(dice.integers(len(true)))
        covered.append(found.low[turn] - 1e-9 <= true[turn] <= found.high[turn] + 1e-9)
        gaps.append(found.value[turn] - true[turn])
    assert np.mean(covered) == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 300) ** 0.5)
    assert np.mean(gaps) == pytest.approx(0.0, abs=3 * np.std(gaps) / 300**0.5)


def test_common_random_numbers_are_worth_their_name() -> None:
    """The same continuations, paired at random, differ more: their errors are larger."""
    groups = PROBLEM.groups(60, 1, seed=2)
    found = estimate(groups, ExactProbe(PROBLEM, 7).continue_from, 16)

    def apart(forks: Sequence[Fork], k: int) -> list[Group]:
        played = ExactProbe(PROBLEM, 7).continue_from(forks, k)
        dice = np.random.default_rng(0)
        return [Group(g.question, tuple(g.trajectories[i] for i in dice.permutation(k))) for g in played]

    others = estimate(groups, apart, 16)
    np.testing.assert_allclose(np.concatenate([a.value for a in found]), np.concatenate([a.value for a in others]))
    paired, unpaired = (np.concatenate([a.error[:-1] for a in every]).mean() for every in (found, others))
    assert paired < 0.9 * unpaired

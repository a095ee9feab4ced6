from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdsearch.contracts.credit import Probe
from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.reinforce_pp import ReinforcePP
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]


@pytest.mark.parametrize("credit", [ReinforcePP(), ReinforcePP(baseline=True), ReinforcePP(gamma=0.9, kl=0.1)])
def test_contract(credit: ReinforcePP) -> None:
    check_credit(credit)
    assert credit.needs == ({"frozen"} if credit.kl else set())


def test_rewards_are_whitened_over_tokens(groups_of: Groups) -> None:
    """Returns 1, 1, 1, 0: mean 3/4, deviation 1/2."""
    found = ReinforcePP().advantages(groups_of([([2], 1.0)], [([1], 1.0), ([1], 0.0)]), Probe()).values
    assert np.concatenate(found) == pytest.approx([0.5, 0.5, 0.5, -1.5])


def test_the_discount_counts_tokens_of_all_turns(groups_of: Groups) -> None:
    """Returns 1/4, 1/2, 1, and 1/4 alone: mean 1/2, squares 1/16 + 0 + 1/4 + 1/16 = 3/8, deviation sqrt(1/8)."""
    found = ReinforcePP(gamma=0.5).advantages(groups_of([([1, 2], 1.0), ([1], 0.25)]), Probe()).values
    assert np.concatenate(found) == pytest.approx(np.array([-0.25, 0.0, 0.5, -0.25]) * 8**0.5)


def test_tokens_pay_for_leaving_the_first_weights(groups_of: Groups, told: Any) -> None:
    """Sampled at -0.5, -1.5 or -0.5 at first: one nat at 0.1, and rewards 1 and 1: returns 0.9, 1, 1."""
    probe = told([[-1.5, -0.5], [-0.5]])
    found = ReinforcePP(kl=0.1).advantages(groups_of([([2], 1.0), ([1], 1.0)]), probe).values
    # Mean 29/30, distances -2/30, 1/30, 1/30: deviation sqrt(6/900/2) = sqrt(3)/30.
    assert np.concatenate(found) == pytest.approx(np.array([-2, 1, 1]) / 3**0.5)


def test_the_baseline_is_the_group_s(groups_of: Groups) -> None:
    """After the means 0.5 and 4: 0.5, -0.5, 0, 0: deviation sqrt(1/6)."""
    groups = groups_of([([1], 1.0), ([1], 0.0)], [([1], 4.0), ([1], 4.0)])
    found = ReinforcePP(baseline=True).advantages(groups, Probe()).values
    assert np.concatenate(found) == pytest.approx(np.array([0.5, -0.5, 0, 0]) * 6**0.5)


def test_the_step_is_that_of_all_processes(groups_of: Groups, told: Any) -> None:
    """Here 1 and 0, elsewhere 2, 1 and one that was never credited: mean 1, deviation sqrt(2/3)."""
    probe = told(others=[[np.array([2.0, np.nan]), np.array([1.0])]])
    found = ReinforcePP().advantages(groups_of([([1], 1.0), ([1], 0.0)]), probe).values
    assert np.concatenate(found) == pytest.approx(np.array([0, -1]) * 1.5**0.5)
    assert ReinforcePP().advantages([], told(others=[[np.array([2.0])]])).values == []


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
def test_equal_rewards_are_no_signal(groups_of: Groups, reward: float) -> None:
    found = ReinforcePP().advantages(groups_of([([2], reward), ([1], reward)]), Probe()).values
    assert np.concatenate(found).tolist() == [0, 0, 0]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 1)), min_size=2, max_size=6), st.booleans())
def test_mean_zero_and_deviation_one(groups_of: Groups, episodes: list[tuple[int, float]], baseline: bool) -> None:
    groups = groups_of([([n], r) for n, r in episodes])
    found = np.concatenate(ReinforcePP(baseline=baseline).advantages(groups, Probe()).values)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    if max(r for _, r in episodes) - min(r for _, r in episodes) > 1e-3:
        assert found.std(ddof=1) == pytest.approx(1, rel=1e-3)

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.gae import GAE
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]
VALUES = [0.5, 0.25, 0.75, 0.5, 9.0]


@pytest.mark.parametrize("credit", [GAE(), GAE(level="turn"), GAE(gamma=0.9, lam=0.5, bootstrap=("max_turns",))])
def test_contract(credit: GAE) -> None:
    check_credit(credit)
    assert credit.needs == {"critic"}


@pytest.mark.parametrize(
    ("credit", "advantages", "targets"),
    [
        # Two turns of 3 and 1 tokens, reward 1; nothing follows an answer, so the last value is not used.
        (GAE(), [0.5, 0.75, 0.25, 0.5], [1.0] * 4),
        (GAE(lam=0), [-0.25, 0.5, -0.25, 0.5], [0.25, 0.75, 0.5, 1.0]),
        # Deltas: 0.125 - 0.5, 0.375 - 0.25, 0.25 - 0.75, 1 - 0.5; the trace is halved twice a token.
        (
            GAE(gamma=0.5, lam=0.5),
            [-0.375 + 0.25 * 0.03125, 0.03125, -0.375, 0.5],
            [0.1328125, 0.28125, 0.375, 1.0],
        ),
        (GAE(level="turn"), [0.5, 0.5, 0.5, 0.5], [1.0, np.nan, np.nan, 1.0]),
        (GAE(level="turn", lam=0), [0.0, 0.0, 0.0, 0.5], [0.5, np.nan, np.nan, 1.0]),
    ],
)
def test_by_hand(groups_of: Groups, credit: GAE, advantages: list[float], targets: list[float]) -> None:
    ((trajectory,),) = (g.kept for g in groups_of([([3, 1], 1.0)]))
    found = credit.estimate(trajectory, np.array(VALUES))
    assert found[0] == pytest.approx(advantages)
    assert found[1] == pytest.approx(targets, nan_ok=True)


@pytest.mark.parametrize("stop", ["max_turns", "context_full"])
@pytest.mark.parametrize("level", ["token", "turn"])
def test_an_episode_cut_off_goes_on_with_the_last_value(groups_of: Groups, stop: str, level: str) -> None:
    ((trajectory,),) = (g.kept for g in groups_of([([3, 1], 0.0)], stop=stop))
    for bootstrap, expected in (([stop], 9.0), ([], 0.0)):
        credit = GAE.model_validate({"level": level, "bootstrap": bootstrap})
        _, targets = credit.estimate(trajectory, np.array(VALUES))
        assert targets[0] == targets[3] == expected


def test_a_turn_and_an_episode_without_tokens(groups_of: Groups) -> None:
    ((empty, gap),) = (g.kept for g in groups_of([([], 1.0), ([1, 0, 1], 1.0)]))
    for level in ("token", "turn"):
        credit = GAE.model_validate({"level": level})
        assert [part.shape for part in credit.estimate(empty, np.array([0.5]))] == [(0,), (0,)]
        advantages, targets = credit.estimate(gap, np.array([0.5, 0.25, 0.0]))
        assert (advantages.tolist(), targets.tolist()) == ([0.5, 0.75], [1.0, 1.0])


def test_the_critic_is_given_targets_and_the_step_is_whitened(groups_of: Groups, told: Any) -> None:
    probe = told([[0, 0, 0], [0, 0], [0.5, 0]])
    values, targets = GAE().advantages(groups_of([([1, 1], 1.0), ([1], 0.0)], [([1], 0.5)]), probe)
    assert targets is not None
    assert [t.tolist() for t in targets] == [[1, 1], [0], [0.5]]
    # Advantages 1, 1, 0, 0: mean 1/2, deviation sqrt(1/3).
    assert np.concatenate(values) == pytest.approx(np.array([0.5, 0.5, -0.5, -0.5]) * 3**0.5)


VALUE = st.floats(-2, 2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.floats(-1, 1), st.data())
def test_with_gamma_and_lambda_one_it_is_the_return_minus_the_value(
    groups_of: Groups, lengths: list[int], reward: float, data: st.DataObject
) -> None:
    n = sum(lengths)
    values = np.array(data.draw(st.lists(VALUE, min_size=n + 1, max_size=n + 1)))
    ((trajectory,),) = (g.kept for g in groups_of([(lengths, reward)]))
    advantages, targets = GAE().estimate(trajectory, values)
    assert advantages == pytest.approx(reward - values[:-1], abs=1e-9)
    assert targets == pytest.approx(np.full(n, reward), abs=1e-9)
    advantages, targets = GAE(level="turn").estimate(trajectory, values)
    starts = np.cumsum([0, *lengths[:-1]])
    assert advantages == pytest.approx(np.repeat(reward - values[starts], lengths), abs=1e-9)
    assert np.flatnonzero(~np.isnan(targets)).tolist() == starts.tolist()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUE, min_size=4, max_size=4), st.floats(0.1, 1), st.floats(0, 1))
def test_turns_of_one_token_are_tokens(groups_of: Groups, values: list[float], gamma: float, lam: float) -> None:
    ((trajectory,),) = (g.kept for g in groups_of([([1, 1, 1], 1.0)]))
    one, two = (
        GAE.model_validate({"level": level, "gamma": gamma, "lam": lam}).estimate(trajectory, np.array(values))
        for level in ("token", "turn")
    )
    np.testing.assert_array_equal(one, two)

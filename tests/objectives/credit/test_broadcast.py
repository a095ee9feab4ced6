from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.broadcast import Broadcast, level
from sdsearch.objectives.credit.gae import GAE
from sdsearch.objectives.credit.gigpo import GiGPO
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.igpo import IGPO
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]


@pytest.mark.parametrize("credit", [Broadcast(), Broadcast(of=IGPO()), Broadcast(of=GroupMean(weight=2.0))])
def test_contract(credit: Broadcast) -> None:
    check_credit(credit)


def test_by_hand() -> None:
    np.testing.assert_array_equal(level(np.array([1.0, np.nan, 4.0, 1.0])), [2.0, np.nan, 2.0, 2.0])
    np.testing.assert_array_equal(level(np.array([np.nan])), [np.nan])
    assert level(np.empty(0)).shape == (0,)


def test_the_sum_of_a_trajectory_stays_and_its_places_go(groups_of: Groups, told: Any) -> None:
    groups = groups_of([([2, 3], 1.0), ([1, 4], 0.0), ([3, 2], 1.0)])
    plain = GiGPO().advantages(groups, told()).values
    spread = Broadcast(of=GiGPO(weight=3.0)).advantages(groups, told()).values
    assert any(np.ptp(part) > 0 for part in plain)
    for one, two in zip(plain, spread, strict=True):
        assert np.ptp(two) == 0
        assert two.sum() == pytest.approx(3 * one.sum())


def test_it_asks_for_what_the_wrapped_credit_needs() -> None:
    assert Broadcast(of=GAE()).needs == {"critic"}
    assert Broadcast().heeds_reward
    assert not Broadcast(of=IGPO()).heeds_reward

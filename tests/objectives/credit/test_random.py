from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.random import Random
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]
LEVELS = {"trajectory": 1, "turn": 3, "token": 6}
"""How many different numbers an episode of turns of 1, 2 and 3 tokens gets."""


@pytest.mark.parametrize("level", LEVELS)
def test_numbers_by_level_and_seed(groups_of: Groups, told: Any, level: str) -> None:
    credit = Random.model_validate({"level": level})
    check_credit(credit)
    groups = groups_of([([1, 2, 3], 1.0), ([1, 2, 3], 0.0)])
    found = credit.advantages(groups, told(seed=1)).values
    assert [len(set(part)) for part in found] == [LEVELS[level]] * 2
    assert len(set(np.concatenate(found))) == 2 * LEVELS[level]
    assert len(set(found[0][1:3])) == (2 if level == "token" else 1)
    again, other = (np.concatenate(credit.advantages(groups, told(seed=seed)).values) for seed in (1, 2))
    assert np.array_equal(again, np.concatenate(found))
    assert not set(again) & set(other)


def test_of_mean_zero_and_deviation_one(groups_of: Groups, told: Any) -> None:
    found = np.concatenate(Random().advantages(groups_of([([1], 0.0)] * 10_000), told()).values)
    assert found.mean() == pytest.approx(0, abs=0.05)
    assert found.std() == pytest.approx(1, abs=0.05)

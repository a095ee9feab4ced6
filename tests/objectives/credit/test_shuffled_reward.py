from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.per_turn import whole
from sdsearch.objectives.credit.reinforce_pp import ReinforcePP
from sdsearch.objectives.credit.shuffled_reward import ShuffledReward
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]


class Reward(GroupCredit):
    """The reward itself."""

    def of_group(self, group: Group) -> Numbers:
        return [whole(t, t.reward) for t in group.kept]


@pytest.mark.parametrize("credit", [ShuffledReward(), ShuffledReward(within="group"), ShuffledReward(of=ReinforcePP())])
def test_contract(credit: ShuffledReward) -> None:
    check_credit(credit)


def dealt(credit: ShuffledReward, groups: list[Group], probe: Any) -> list[float]:
    return [float(part[0]) for part in credit.advantages(groups, probe).values]


def test_rewards_change_places(groups_of: Groups, told: Any) -> None:
    groups = groups_of([([1], float(r)) for r in range(4)], [([2], float(r)) for r in range(4, 8)])
    found = [dealt(ShuffledReward(of=Reward()), groups, told(seed=seed)) for seed in range(50)]
    assert all(sorted(f) == list(range(8)) for f in found)
    assert len(set(map(tuple, found))) == 50
    # Each place gets each reward about as often: the mean of 50 draws of 0 to 7 is 3.5, give or take 4 times 0.32.
    assert np.mean(found, 0) == pytest.approx([3.5] * 8, abs=1.3)
    assert found[7] == dealt(ShuffledReward(of=Reward()), groups, told(seed=7))


def test_within_the_group(groups_of: Groups, told: Any) -> None:
    groups = groups_of([([1], float(r)) for r in range(4)], [([2], float(r)) for r in range(4, 8)])
    found = [dealt(ShuffledReward(of=Reward(), within="group"), groups, told(seed=seed)) for seed in range(9)]
    assert {(tuple(sorted(f[:4])), tuple(sorted(f[4:]))) for f in found} == {((0, 1, 2, 3), (4, 5, 6, 7))}
    assert len(set(map(tuple, found))) > 5


def test_the_wrapped_credit_counts_with_its_weight(groups_of: Groups, told: Any) -> None:
    assert dealt(ShuffledReward(of=Reward(weight=3.0)), groups_of([([1], 2.0)]), told()) == [6.0]
    assert ShuffledReward(of=ReinforcePP(kl=0.1)).needs == {"frozen"}

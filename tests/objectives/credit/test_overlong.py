from collections.abc import Callable

import numpy as np
import pytest

from sdsearch.contracts.credit import Probe
from sdsearch.core.trajectory import Group
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.overlong import Overlong
from sdsearch.objectives.credit.reinforce_pp import ReinforcePP
from sdsearch.testing import check_credit

Groups = Callable[..., list[Group]]
PLAIN = GroupMean(scale="none")


@pytest.mark.parametrize("credit", [Overlong(), Overlong(longest=6, buffer=4, drop=()), Overlong(of=ReinforcePP())])
def test_contract(credit: Overlong) -> None:
    check_credit(credit)


@pytest.mark.parametrize(("length", "used"), [(0, 0), (6, 0), (7, 0.25), (9, 0.75), (10, 1), (40, 1)])
def test_the_buffer_is_used_up(length: int, used: float) -> None:
    assert Overlong(longest=10, buffer=4).used(length) == used


def test_the_penalty_is_on_the_reward(groups_of: Groups) -> None:
    """Rewards 1, 1, 0 less 0, half and whole penalties of 2: 1, 0, -2, whose mean is -1/3."""
    groups = groups_of([([1, 5], 1.0), ([8], 1.0), ([10], 0.0)])
    found = Overlong(of=PLAIN, longest=10, buffer=4, penalty=2).advantages(groups, Probe()).values
    assert [f.shape for f in found] == [(6,), (8,), (10,)]
    assert [f[0] for f in found] == pytest.approx([4 / 3, 1 / 3, -5 / 3])


@pytest.mark.parametrize("stop", ["max_turns", "context_full"])
def test_what_was_cut_off_is_not_credited(groups_of: Groups, stop: str) -> None:
    (cut,), (answered,) = groups_of([([2], 0.0)], stop=stop), groups_of([([1], 1.0)])
    group = Group(cut.question, (*cut.kept, *answered.kept))
    found = Overlong.model_validate({"of": PLAIN, "drop": [stop]}).advantages([group], Probe()).values
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0.5]  # its reward of 0 stays in the mean
    other = {"max_turns": "context_full", "context_full": "max_turns"}[stop]
    some = Overlong.model_validate({"of": PLAIN, "drop": [other]})
    assert [f.tolist() for f in some.advantages([group], Probe()).values] == [[-0.5, -0.5], [0.5]]


def test_the_wrapped_credit_counts_with_its_weight(groups_of: Groups) -> None:
    groups = groups_of([([1], 1.0), ([1], 0.0)])
    found = Overlong(of=GroupMean(scale="none", weight=3.0)).advantages(groups, Probe()).values
    assert np.concatenate(found).tolist() == [1.5, -1.5]


def test_it_needs_what_it_wraps() -> None:
    assert Overlong(of=ReinforcePP(kl=0.1)).needs == {"frozen"}
    assert Overlong().needs == set()

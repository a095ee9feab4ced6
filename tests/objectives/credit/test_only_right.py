from collections.abc import Callable

import numpy as np
import pytest

from sdsearch.contracts.credit import Probe
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.objectives.credit.only_right import OnlyRight
from sdsearch.testing import check_credit

By = Callable[..., list[list[float]]]


@pytest.mark.parametrize("of", ["group_mean", "gigpo", "carl"])
def test_contract(of: str) -> None:
    check_credit(OnlyRight.model_validate({"of": of}))


def test_by_hand(attempt: Callable[..., Trajectory], by_turns: By) -> None:
    """Wrong attempts lower what right ones are compared with, and are credited 0; one word in two is F1 0.67."""
    plays = [
        attempt(r, Turn("answer", text)) for r, text in ((1, "here"), (0, "there"), (0, "over here"), (0, "nowhere"))
    ]
    group = Group(plays[0].question, tuple(plays))

    def found(**settings: object) -> list[float]:
        credit = OnlyRight.model_validate({"of": {"type": "group_mean", "scale": "none", "weight": 2}, **settings})
        return [number for own in by_turns(group, credit.advantages([group], Probe()).values) for number in own]

    assert found() == [1.5, 0, -0.5, 0]
    assert found(above=0.7) == [1.5, 0, 0, 0]
    assert found(label_by="exact_match") == [1.5, 0, 0, 0]


def test_what_is_never_credited_stays_so(attempt: Callable[..., Trajectory]) -> None:
    plays = (
        attempt(1, Turn("search", "a"), Turn("answer", "here")),
        attempt(0, Turn("search", "b"), Turn("answer", "x")),
    )
    group = Group(plays[0].question, plays)
    plain, only = (c.advantages([group], Probe()).values for c in (OnlyRight().of, OnlyRight()))
    carl = OnlyRight.model_validate({"of": "carl"})
    for one, other in (
        (plain, only),
        (carl.of.advantages([group], Probe()).values, carl.advantages([group], Probe()).values),
    ):
        assert [np.isnan(part).tolist() for part in one] == [np.isnan(part).tolist() for part in other]

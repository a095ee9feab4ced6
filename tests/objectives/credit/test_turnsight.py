from collections.abc import Callable, Sequence
from math import tanh

import numpy as np
import pytest

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher, hint_at
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.crediting.per_turn import agreed, per_turn
from sdsearch.objectives.credit.turnsight import TurnSight

SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")


class Reference(Probe):
    """Likes each turn so much more with a hint as it was told to."""

    def __init__(self, *gaps: Sequence[float]) -> None:
        self.gaps = gaps

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        assert teacher == "frozen"
        kept = [t for g in groups for t in g.kept]
        told_of = hints or [""] * len(kept)
        return [
            per_turn(
                t, [np.nan if hint_at(h, i) is None else gap * (hints is not None) - 1 for i, gap in enumerate(own)]
            )
            for t, own, h in zip(kept, self.gaps, told_of, strict=True)
        ]


def test_by_hand(attempt: Callable[..., Trajectory], by_turns: Callable[..., list[list[float]]]) -> None:
    """The gaps are 3 and -4, their root mean square sqrt(12.5); after the answer nothing follows: 9 is ignored."""
    plays = attempt(1, SEARCH, ANSWER, shown=["A fact."]), attempt(0, SEARCH, ANSWER, shown=["A fact."])
    group = Group(plays[0].question, plays)
    credit = TurnSight(horizons=(1,), base={"type": "group_mean", "scale": "none", "weight": 2.0})
    found = by_turns(group, credit.advantages([group], Reference([3, 9], [-4, 9])).values)
    assert found[0] == pytest.approx([1 + tanh(3 / 12.5**0.5) / 4, 1], rel=1e-5)
    assert found[1] == pytest.approx([-1 - tanh(4 / 12.5**0.5) / 4, -1], rel=1e-5)


def test_nothing_follows_anywhere(
    attempt: Callable[..., Trajectory], by_turns: Callable[..., list[list[float]]]
) -> None:
    group = Group(attempt(1, ANSWER).question, (attempt(1, ANSWER), attempt(0, ANSWER)))
    credit = TurnSight(base={"type": "group_mean", "scale": "none"})
    assert by_turns(group, credit.advantages([group], Reference([1e-9], [2e-9])).values) == [[0.5], [-0.5]]


def test_most_readings_decide() -> None:
    gaps = np.array([[0.1, -0.2, np.nan, -1.0], [0.3, 0.2, np.nan, np.nan], [-0.5, np.nan, np.nan, -2.0]])
    assert agreed(gaps) == pytest.approx([0.2, 0.0, 0.0, -1.5])


def test_it_needs_the_first_weights() -> None:
    assert TurnSight().needs == {"frozen"}
    assert TurnSight(base={"type": "gae"}).needs == {"frozen", "critic"}


def test_it_goes_by_the_reward_where_its_base_does() -> None:
    assert TurnSight().heeds_reward
    assert not TurnSight(base={"type": "constant"}).heeds_reward


@pytest.mark.parametrize(
    ("base", "said"),
    [("group_mean", "train.group is 1"), ("carl", "got rollouts independent, which never fork")],
)
def test_it_objects_as_its_base_does(base: str, said: str) -> None:
    conditions = Conditions(group=1, questions=2, epochs=1, rollouts="independent", credits=())
    assert said in str(TurnSight(base={"type": base}).objection(conditions))

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sdsearch
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import SpecError
from sdsearch.objectives.credit.gigpo import GiGPO
from sdsearch.objectives.credit.hgpo import HGPO
from sdsearch.spec import load
from sdsearch.testing import check_credit, example_trajectory

Attempt = Callable[..., Trajectory]
ByTurn = Callable[..., list[list[float]]]
SPECS = Path(sdsearch.__file__).parent / "specs"
QUESTION = Question("q", "Where?", ("here",))


@pytest.mark.parametrize("credit", [HGPO(), HGPO(episode="mean"), HGPO(episode="added", offset=1, short="compare")])
def test_contract(credit: HGPO) -> None:
    check_credit(credit)


FIRST = {"episode": "added", "offset": 1, "short": "compare", "norm": "mean_norm"}
"""How the figures of the first policy were made."""


def found(group: Group, by_turns: ByTurn, **settings: Any) -> list[list[float]]:
    return by_turns(group, HGPO.model_validate({"gamma": 1, "norm": "mean_norm", **settings}).of_group(group))


def paths(attempt: Attempt, *ways: tuple[float, str]) -> Group:
    """Return attempts of a reward that see some passages, one a search, before they answer."""
    turns = ([Turn("search", "a", (f"p{hit}",)) for hit in hits] for _, hits in ways)
    plays = (attempt(reward, *own, Turn("answer", "here")) for own, (reward, _) in zip(turns, ways, strict=True))
    return Group(QUESTION, tuple(plays))


def test_by_hand(attempt: Attempt, by_turns: ByTurn) -> None:
    """All see p3 before they answer, the first and the third with the same past: weights 2 and 3."""
    group = paths(attempt, (1, "13"), (0, "23"), (0, "13"))
    one, two, three = found(group, by_turns, depth=1)
    assert one == pytest.approx([2 / 3, 1 / 2, (2 * 2 / 3 + 3 / 2) / 5])
    assert two == pytest.approx([-1 / 3, 0, -1 / 3])
    assert three == pytest.approx([-1 / 3, -1 / 2, (-2 / 3 - 3 / 2) / 5])
    # In units of the deviation: that of 1, 0 and 0 is sqrt(2) / 3, that of 1 and 0 is 1/2.
    root = 0.5**0.5
    one, two, three = found(group, by_turns, depth=1, norm="mean_std_norm")
    assert one == pytest.approx([2 * root, 1, (4 * root + 3) / 5], rel=1e-5)
    assert two == pytest.approx([-root, 0, -root], rel=1e-5)
    assert three == pytest.approx([-root, -1, (-2 * root - 3) / 5], rel=1e-5)


def test_the_episode_as_a_member_of_the_mean(attempt: Attempt, by_turns: ByTurn) -> None:
    """Its advantages are 2/3 and -1/3, with the weight 1 beside 2 and 3; step_weight is a factor of the whole."""
    group = paths(attempt, (1, "13"), (0, "23"), (0, "13"))
    one, two, _ = found(group, by_turns, depth=1, episode="mean", step_weight=2)
    assert one == pytest.approx([2 * 2 / 3, 2 * (2 / 3 + 2 / 2 + 3 / 2) / 6, 2 * (2 / 3 + 4 / 3 + 3 / 2) / 6])
    assert two == pytest.approx([-2 / 3, -2 / 3, -2 / 3])


def test_as_it_was_for_the_first_policy(attempt: Attempt, by_turns: ByTurn) -> None:
    """The episode is added, weights are 1 and 2."""
    group = paths(attempt, (1, "13"), (0, "23"), (0, "13"))
    one, two, three = found(group, by_turns, depth=1, **FIRST)
    assert one == pytest.approx([2 / 3 + 2 / 3, 2 / 3 + 1 / 2, 2 / 3 + (2 / 3 + 2 / 2) / 3])
    assert two == pytest.approx([-1 / 3 - 1 / 3, -1 / 3, -1 / 3 - 1 / 3])
    assert three == pytest.approx([-1 / 3 - 1 / 3, -1 / 3 - 1 / 2, -1 / 3 + (-1 / 3 - 2 / 2) / 3])


def test_a_depth_without_so_much_history(attempt: Attempt, by_turns: ByTurn) -> None:
    """Three see p1, two of them first of all: 2/3 among the three, 1/2 among the two, and no history of two before."""
    group = paths(attempt, (1, "1"), (0, "1"), (0, "91"))
    assert found(group, by_turns)[0][1] == pytest.approx((2 * 2 / 3 + 3 / 2) / 5)
    assert found(group, by_turns, short="compare")[0][1] == pytest.approx((2 * 2 / 3 + 3 / 2 + 4 / 2) / 9)
    assert found(group, by_turns, alpha=0)[0][1] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_an_episode_without_weight_is_objected_to() -> None:
    load(SPECS / "methods" / "hgpo.yaml", ["objective.credit.0.episode=mean"])
    with pytest.raises(SpecError, match="got episode: mean and offset: 1, which give the episode no weight"):
        load(SPECS / "methods" / "hgpo.yaml", ["objective.credit.0={episode: mean, offset: 1}"])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("ab"), max_size=3), st.sampled_from([0.0, 1.0])), min_size=1, max_size=5
    )
)
def test_without_history_it_is_gigpo(plays: list[tuple[list[str], float]]) -> None:
    """Every attempt is a few searches, each of which finds one of two passages."""
    group = Group(QUESTION, tuple(played(hits, reward) for hits, reward in plays))
    ours = HGPO(depth=0, episode="added", norm="mean_norm").of_group(group)
    pairs = zip(ours, GiGPO().of_group(group), strict=True)
    assert all(one == pytest.approx(two) for one, two in pairs)


def played(hits: list[str], reward: float) -> Trajectory:
    bare = example_trajectory(QUESTION, [("search", "x")] * len(hits), reward)
    return Trajectory(QUESTION, bare.segments, tuple(Turn("search", "x", (h,)) for h in hits), "max_turns", reward)

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from sdsearch.contracts.credit import Probe
from sdsearch.core.trajectory import Fork, Group, Trajectory, Turn
from sdsearch.objectives.credit.vine import Vine
from sdsearch.testing import check_credit

Attempt = Callable[..., Trajectory]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")


class Futures(Probe):
    """Plays on with given rewards; None: an outage."""

    def __init__(self, *rewards: Sequence[float | None]) -> None:
        self.rewards = rewards
        self.forks: list[Fork] = []

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        assert all(len(r) == k for r in self.rewards)
        self.forks += forks
        return [
            Group(f.trajectory.question, tuple(ended(f.trajectory, r) for r in own))
            for f, own in zip(forks, self.rewards, strict=True)
        ]


def ended(trajectory: Trajectory, reward: float | None) -> Trajectory:
    return replace(
        trajectory, reward=reward or 0.0, stop_reason="retriever_unavailable" if reward is None else "answered"
    )


@pytest.mark.parametrize("whiten", [True, False])
def test_contract(whiten: bool) -> None:
    check_credit(Vine(k=3, whiten=whiten))


def test_by_hand(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """The question is worth 1/2, the state after the first search 1, and the second attempt fails."""
    one, two = attempt(1, SEARCH, ANSWER), attempt(0, ANSWER)
    group, probe = Group(one.question, (one, two)), Futures([1, 0], [1, 1])
    assert by_turns(group, Vine(k=2, whiten=False).advantages([group], probe).values) == [[0.5, 0.0], [-0.5]]
    assert probe.forks == [Fork(one, 0), Fork(one, 1)]


def test_whitened_over_the_tokens_of_the_step(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Four tokens have 1/2, four 0, and eight -1/2: their mean is -1/8, the sum of squares from it 2.75, of 15."""
    one, two = attempt(1, SEARCH, ANSWER), attempt(0, ANSWER)
    groups = [Group(one.question, (one, two)), Group(two.question, (two,))]
    first, second = Vine(k=2).advantages(groups, Futures([1, 0], [1, 1], [0, 1])).values[:2]
    unit = (2.75 / 15) ** 0.5
    assert first.tolist() == pytest.approx([0.625 / unit] * 4 + [0.125 / unit] * 4)
    assert second.tolist() == pytest.approx([-0.375 / unit] * 4)


def test_a_trajectory_gains_its_reward_less_the_worth_of_the_question(attempt: Attempt) -> None:
    group = Group(attempt(1).question, (attempt(0.7, SEARCH, SEARCH, ANSWER), attempt(0.2)))
    credit, nothing = Vine(k=1, whiten=False).advantages([group], Futures([0.4], [0.9], [0.1])).values
    assert sum(credit[[0, 4, 8]]) == pytest.approx(0.7 - 0.4)
    assert len(nothing) == 0


def test_a_state_that_nobody_could_play_on_from_tells_nothing(attempt: Attempt) -> None:
    group = Group(attempt(1).question, (attempt(1, SEARCH, SEARCH, ANSWER),))
    (credit,) = Vine(k=2, whiten=False).advantages([group], Futures([0, 0], [None, None], [None, 0.5])).values
    assert credit[[0, 4, 8]].tolist() == pytest.approx([float("nan"), float("nan"), 0.5], nan_ok=True)


def test_an_episode_that_was_lost_is_not_played_on_from(attempt: Attempt) -> None:
    lost = replace(attempt(0, SEARCH), stop_reason="retriever_unavailable")
    assert Vine(k=1).advantages([Group(lost.question, (lost,))], Probe()).values == []

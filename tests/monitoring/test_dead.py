"""A run that teaches nothing says so at once, with the likeliest cause."""

from collections.abc import Mapping

import pytest

from sdsearch.monitoring.limits import Monitors
from sdsearch.monitoring.monitor import Monitor

ALIVE = {
    "reward": 0.25,
    "homogeneous": 0.5,
    "gradient_norm": 0.1,
    "invalid": 0.1,
    "no_answer": 0.1,
    "outage": 0.0,
    "credited": 1.0,
}
DEAD = {**ALIVE, "reward": 0.0, "homogeneous": 1.0, "gradient_norm": 0.0}


def warned(monitor: Monitor, *steps: Mapping[str, float], phase: int | None = None) -> list[str]:
    """Return what is said of dead steps."""
    lines = [{"train": step, **({"phase": phase} if phase else {})} for step in steps]
    return [notice.text for line in lines for notice in monitor.check(line) if notice.limit == "dead"]


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({}, "no rollout earned a reward, the gradient is 0. Every answer is wrong."),
        ({"invalid": 0.83}, "a reward, the gradient is 0, 83% of the turns are invalid. The model does not write"),
        ({"no_answer": 0.9}, "the gradient is 0, 90% of the episodes end without an answer. The model never gets"),
        ({"invalid": 0.7, "no_answer": 1.0}, "are invalid, 100% of the episodes end without an answer. The model does"),
        ({"outage": 0.6, "invalid": 0.7}, "60% of the episodes were ended by outages, 70% of the turns"),
        ({"reward": 1.0}, ": the gradient is 0. Every group has one outcome only"),
        ({"reward": 0.5, "homogeneous": 0.5}, ": the gradient is 0. Rewards differ, and yet nothing moves."),
        ({"gradient_norm": 0.1}, ": no rollout earned a reward. Every answer is wrong."),
        ({**ALIVE, "invalid": 0.6}, "nothing: 60% of the turns are invalid. The model does not write"),
    ],
)
def test_the_first_step_says_what_is_wrong(figures: Mapping[str, float], says: str) -> None:
    (text,) = warned(Monitor(Monitors()), {**DEAD, **figures})
    assert text.startswith("the first step taught little or nothing: ")
    assert says in text


def test_a_run_that_lives_is_silent_and_one_that_dies_later_is_for_others() -> None:
    assert warned(Monitor(Monitors()), ALIVE, DEAD, DEAD) == []
    assert warned(Monitor(Monitors(dead=None)), DEAD) == []
    assert warned(Monitor(Monitors(dead=3)), DEAD, DEAD, ALIVE) == []
    (text,) = warned(Monitor(Monitors(dead=2)), DEAD, DEAD, DEAD)
    assert text.startswith("the first 2 steps taught")


def test_without_credit_no_reward_is_no_fault() -> None:
    """A teacher that has seen the answer teaches rollouts that are all wrong."""
    distilled = {name: value for name, value in DEAD.items() if name != "credited"} | {"gradient_norm": 0.1}
    assert warned(Monitor(Monitors()), distilled) == []


def test_each_phase_begins_anew() -> None:
    monitor = Monitor(Monitors())
    assert [len(warned(monitor, DEAD, phase=phase)) for phase in (1, 1, 2)] == [1, 0, 1]

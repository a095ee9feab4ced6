from collections.abc import Callable, Sequence
from math import log

import numpy as np
import pytest

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.crediting.per_turn import per_turn
from sdsearch.objectives.credit.hcapo import HCAPO
from sdsearch.testing import check_credit

Attempt = Callable[..., Trajectory]
ByTurn = Callable[..., list[list[float]]]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")
ROOT = 0.5 / (0.5**0.5 + 1e-6)


class Hindsight(Probe):
    """Knows the probability of each turn's tokens in hindsight."""

    def __init__(self, *turns: Sequence[float]) -> None:
        self.turns = turns

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        kept = [t for g in groups for t in g.kept]
        assert hints == ["The answer is here.\n\n" if t.question.answers else None for t in kept]
        return [per_turn(t, np.log(p)) for t, p in zip(kept, self.turns, strict=True)]


@pytest.mark.parametrize("credit", [HCAPO(), HCAPO(smoothing=0.5, hint="peer_success")])
def test_contract(credit: HCAPO) -> None:
    check_credit(credit)


def test_by_hand(attempt: Attempt, by_turns: ByTurn) -> None:
    """0.3 and 0.1 are 1.5 and 0.5 times their mean: Q is 1.2 and 0.8, then 0 and 0; mean 0.5, deviation 0.6."""
    group = Group(ANSWERED, (attempt(1, SEARCH, ANSWER), attempt(0, SEARCH, ANSWER)))
    credit = HCAPO(temperature=1, gamma=1)
    found = by_turns(group, credit.advantages([group], Hindsight([0.3, 0.1], [0.2, 0.2])).values)
    assert found[0] == pytest.approx([ROOT + 0.7 / 0.6, ROOT + 0.3 / 0.6], rel=1e-5)
    assert found[1] == pytest.approx([-ROOT - 0.5 / 0.6] * 2, rel=1e-5)


def test_a_success_is_not_blamed(attempt: Attempt, by_turns: ByTurn) -> None:
    """Q is 1.2, 0.8 and 1: in units of their deviation of 0.2 that is 1, -1 and 0."""
    group = Group(ANSWERED, (attempt(1, SEARCH, ANSWER), attempt(1, ANSWER)))
    found = by_turns(
        group, HCAPO(temperature=1, gamma=1, micro_weight=3).advantages([group], Hindsight([0.3, 0.1], [0.2])).values
    )
    assert found == [[pytest.approx(3, rel=1e-4), 0.0], [pytest.approx(0, abs=1e-9)]]


def test_discount_temperature_and_smoothing(attempt: Attempt) -> None:
    played = attempt(1, SEARCH, ANSWER)
    logprobs = np.array([log(0.3), log(0.1)])
    assert HCAPO(temperature=1, gamma=0.5).value(played, logprobs).tolist() == pytest.approx([0.6, 0.8])
    mild = np.exp(logprobs / 100)
    assert HCAPO(temperature=100, gamma=1).value(played, logprobs) == pytest.approx(mild / mild.mean())
    # Q, not rho, is smoothed: 0.6 and 0.8, where the last keeps its own.
    smooth = HCAPO(temperature=1, gamma=0.5, smoothing=0.25).value(played, logprobs)
    assert smooth == pytest.approx([0.75 * 0.6 + 0.25 * 0.8, 0.8])


def test_without_a_hint_it_is_grpo(attempt: Attempt, by_turns: ByTurn) -> None:
    open_ended = Question("q", "Where?", ())
    group = Group(open_ended, tuple(attempt(r, SEARCH, ANSWER, question=open_ended) for r in (1, 0)))
    found = by_turns(group, HCAPO().advantages([group], Hindsight([np.nan] * 2, [np.nan] * 2)).values)
    assert found == [[pytest.approx(ROOT)] * 2, [pytest.approx(-ROOT)] * 2]


ANSWERED = Question("q", "Where?", ("here",))

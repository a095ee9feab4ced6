from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdsearch
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import SpecError
from sdsearch.objectives.credit.carl import CARL
from sdsearch.spec import load

Attempt = Callable[..., Trajectory]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")
LONG = SEARCH, SEARCH, ANSWER
SPECS = Path(sdsearch.__file__).parent / "specs"


def test_by_hand(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    """Two first rollouts; a third leaves the first at turn 1, a fourth the third at turn 2.

    The state before turn 2 of the third is worth (0 + 1) / 2, that before turn 1 of the first (1 + 1/2) / 2 = 3/4, and
    the question (3/4 + 0) / 2 = 3/8.
    """
    plays = (
        attempt(1, *LONG),
        attempt(0, ANSWER),
        attempt(0, *LONG, branch=(0, 1)),
        attempt(1, *LONG, branch=(2, 2)),
    )
    group = Group(plays[0].question, plays)
    first, second, third, fourth = by_turns(group, CARL().of_group(group))
    assert first == pytest.approx([3 / 8, 1 / 4, np.nan], nan_ok=True)
    assert second == [-3 / 8]
    assert third == [3 / 8, -1 / 4, -1 / 2]
    assert fourth == [3 / 8, -1 / 4, 1 / 2]


def test_what_an_outage_ended_is_no_sample(attempt: Attempt, by_turns: Callable[..., list[list[float]]]) -> None:
    lost = replace(attempt(9, *LONG, branch=(0, 1)), stop_reason="retriever_unavailable")
    group = Group(lost.question, (attempt(1, *LONG), attempt(0, ANSWER), lost))
    assert by_turns(group, CARL().of_group(group)) == [[0.5, *[pytest.approx(np.nan, nan_ok=True)] * 2], [-0.5]]


def test_it_wants_forks() -> None:
    load(SPECS / "methods" / "carl.yaml")
    with pytest.raises(SpecError, match=r"carl.*got rollouts independent, which never fork"):
        load(SPECS / "grpo.yaml", ["objective.credit=[{type: carl}]"])

"""What questions say beyond their text."""

from dataclasses import replace

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Trajectory
from sdsearch.crediting.gold import annotated, shows_answer
from sdsearch.errors import DataError
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def shown(*texts: str) -> Trajectory:
    """Return an episode whose segments have these texts: a prompt, then by turns what was done and what was shown."""
    played = example_trajectory(QUESTION, [("search", "a"), ("search", "b"), ("answer", "x")], 0)
    return replace(played, segments=tuple(replace(s, text=t) for s, t in zip(played.segments, texts, strict=True)))


def test_an_answer_is_shown_in_the_turn_that_shows_it() -> None:
    """What the prompt holds, and what the agent wrote itself, was not shown to it by a turn."""
    played = shown("here", "here", "nowhere", "here", "It is HERE.", "here")
    assert [shows_answer(played, turn) for turn in range(3)] == [False, True, False]


def test_gold_passages_have_to_be_named() -> None:
    assert annotated(replace(QUESTION, gold=("a", "b"))) == {"a", "b"}
    with pytest.raises(DataError, match="question 'q': got no gold passage, expected at least one"):
        annotated(QUESTION)

"""What the episodes of a step look like, by hand."""

import numpy as np
import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory
from sdsearch.monitoring.behaviour import behaviour, credited, zero
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("x",))


def group(*plays: tuple[list[tuple[str, str]], float]) -> Group:
    """Return a group of episodes given by actions and reward; a reward below zero is an outage."""
    return Group(QUESTION, tuple(example_trajectory(QUESTION, a, r, lost=r < 0) for a, r in plays))


def test_by_hand() -> None:
    searcher = [("search", "a b"), ("search", "a b"), ("search", "?!"), ("answer", "x")]
    alike = group((searcher, 1.0), ([("answer", "y z")], 1.0), ([("search", "lost")], -1.0))
    mixed = group(([("answer", "x")], 1.0), ([("answer", "y")], 0.0))
    # Prompt 3 tokens, action 3 and one a word, observation 2: 27, 8, 7 and 7 tokens, of which 18, 5, 4 and 4 sampled.
    assert behaviour([alike, mixed]) == pytest.approx(
        {
            "homogeneous": 1 / 2,
            "repeated_queries": 1 / 3,
            "empty_queries": 1 / 3,
            "tokens": 49 / 4,
            "model_tokens": 31 / 4,
            "turns": 7 / 4,
            "thought_tokens": 1.0,
            "entropy": -float(
                np.mean([p for g in (alike, mixed) for t in g.kept for a in t.actions for p in a.logprobs])
            ),
        }
    )


def test_the_same_query_in_two_episodes_is_not_repeated() -> None:
    one = ([("search", "Łódź"), ("answer", "x")], 1.0)
    figures = behaviour([group(one, one)])
    assert (figures["repeated_queries"], figures["empty_queries"], figures["homogeneous"]) == (0, 0, 1)


def test_nothing_kept() -> None:
    figures = behaviour([group(([("search", "a")], -1.0))])
    assert figures == {k: float(k == "homogeneous") for k in figures}


def thinking(*actions: str) -> Trajectory:
    """Return an episode whose actions are thoughts, a token a letter, each with a tag that is none behind it."""
    segments = [Segment("prompt", "p", (1,))]
    for text in actions:
        tokens, spans = (*map(ord, text), 0), (*[Span.THINK] * len(text), Span.MARKUP)
        segments += [Segment("model", text, tokens, (-1.0,) * len(tokens), spans), Segment("observation", "", (2,))]
    return Trajectory(QUESTION, tuple(segments), (), "max_turns", 0.0)


def test_thoughts_by_hand() -> None:
    """abcd once more in another turn: of 1 + 2 runs of four 1 is a repetition; of aaaaaaa's 4 runs 3 are."""
    figures = behaviour([Group(QUESTION, (thinking("abcd", "abcde", ""), thinking("aaaaaaa"), thinking("xyz")))])
    assert figures["thought_repetition"] == pytest.approx((1 / 3 + 3 / 4) / 2)
    assert figures["thought_tokens"] == pytest.approx((4 + 5 + 0 + 7 + 3) / 5)
    assert "thought_repetition" not in behaviour([Group(QUESTION, (thinking("abc", "abc"),))])
    # A policy that does not think has a slip now and then, which repeats itself as slips do.
    assert "thought_repetition" not in behaviour([Group(QUESTION, (thinking("aaaaaaa"), thinking("a"), thinking("")))])


def test_the_share_that_is_credited_with_nothing() -> None:
    assert zero([np.array([0.0, np.nan, 1.0, 0.0]), np.array([-0.0])]) == 0.75
    assert np.isnan(zero([np.array([np.nan]), np.empty(0)]))


def test_the_share_that_is_credited() -> None:
    parts = [np.array([0.0, np.nan, 1.0]), np.array([np.nan]), np.empty(0)]
    assert credited(parts) == {"credited": 0.5}
    assert credited([np.empty(0)]) == {}

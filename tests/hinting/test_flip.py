"""The flip test: numbers by hand, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.hinting.flip import Queries

QUERY, MARKUP = Span.QUERY, Span.MARKUP


def attempt(question: Question, answer: str, *queries: int, lost: bool = False) -> Trajectory:
    """Return an attempt whose searches have so many tokens, one of markup before each, and two for the answer."""
    segments = [Segment("prompt", "?", (1,))]
    for length in queries:
        segments.append(Segment("model", "s", (5,) * (length + 1), (-1.0,) * (length + 1), (MARKUP, *[QUERY] * length)))
        segments.append(Segment("observation", "o", (2,)))
    segments.append(Segment("model", "a", (6, 6), (-1.0, -1.0), (MARKUP, Span.ANSWER)))
    turns = (*(Turn("search", "q") for _ in queries), Turn("answer", answer))
    stop = "retriever_unavailable" if lost else "answered"
    return Trajectory(question, tuple(segments), turns, stop, float(answer == "Rome"))


def groups() -> list[Group]:
    """Return a group with both outcomes, one that was right throughout, and one with one lost attempt."""
    a, b, c = (Question(name, "?", ("Rome",)) for name in "abc")
    return [
        Group(a, (attempt(a, "Rome", 2, 1), attempt(a, "Oslo", 3))),
        Group(b, (attempt(b, "Rome", 1), attempt(b, "Rome", 1))),
        Group(c, (attempt(c, "Rome", 9, lost=True), attempt(c, "Rome", 1), attempt(c, "Oslo"))),
    ]


def numbers(*per_attempt: list[float]) -> list[np.ndarray]:
    return [np.array(each, float) for each in per_attempt]


ZERO = numbers([0.0] * 7, [0.0] * 6, [0.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 2)
TRUE = numbers(
    [9, 1, 2, 9, 4, 9, 9],  # queries 1 + 2 and 4
    [9, -1, -1, -1, 9, 9],  # wrong: -3
    [9, 50, 9, 9],
    [9, 50, 9, 9],
    [9, 0.5, 9, 9],
    [9, 9],
)


def test_queries_are_found_with_their_outcomes() -> None:
    queries = Queries(groups())
    assert [(i, at.tolist()) for i, at in queries.tokens] == [
        (0, [1, 2]),
        (0, [4]),
        (1, [1, 2, 3]),
        (2, [1]),
        (3, [1]),
        (4, [1]),
    ]
    assert queries.turn == [0, 1, 0, 0, 0, 0]
    assert queries.group.tolist() == [0, 0, 0, 1, 1, 2]
    assert queries.right.tolist() == [True, True, False, True, True, True]
    assert queries.mixed.tolist() == [True, True, True, False, False, True]
    assert queries.reward.tolist() == [1, 1, 0, 1, 1, 1]


def test_the_effect_by_hand() -> None:
    """In nats: 3, 4 and, of the wrong attempt, 3; the third group has 0.5. One that is all right does not count."""
    value, low, high = Queries(groups()).label_effect(TRUE, ZERO)
    assert value == pytest.approx((3 + 4 + 3 + 0.5) / 4)
    half = 12.706204736432095 * math.sqrt(2 * ((10 - 3 * value) ** 2 + (0.5 - value) ** 2)) / 4  # t of 1
    assert (low, high) == pytest.approx((value - half, value + half))
    assert Queries(groups()).label_effect(TRUE, ZERO, by_token=True).value == pytest.approx(10.5 / (2 + 1 + 3 + 1))


def test_a_query_that_was_not_scored_does_not_count() -> None:
    some = [each.copy() for each in TRUE]
    some[0][1] = np.nan
    assert Queries(groups()).label_effect(some, ZERO).value == pytest.approx((4 + 3 + 0.5) / 3)


@given(st.lists(st.floats(-5, 5), min_size=27, max_size=27))
def test_turned_round_it_is_the_opposite_and_what_both_share_does_not_matter(values: list[float]) -> None:
    cuts = np.cumsum([len(each) for each in ZERO])[:-1]
    style = np.split(np.array(values), cuts)
    there = Queries(groups()).label_effect(TRUE, ZERO)
    back = Queries(groups()).label_effect(ZERO, TRUE)
    assert there.low is not None
    assert (there.value, there.low) == pytest.approx((-back.value, -(back.high or 0)))
    one, other = ([a + s for a, s in zip(each, style, strict=True)] for each in (TRUE, ZERO))
    assert Queries(groups()).label_effect(one, other) == pytest.approx(there, abs=1e-9)

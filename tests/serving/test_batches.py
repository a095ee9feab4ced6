"""Requests that come while a search is under way are one search, and each gets what it asked for."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RetrieverUnavailable
from sdsearch.serving.batches import MOST, Batches


class Gated:
    """Waits at each call until it is let on; a passage is named by the query, its score the k."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], int]] = []
        self.gate, self.begun = threading.Event(), threading.Event()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.begun.set()
        assert self.gate.wait(10)
        self.calls.append((list(queries), k))
        if "bad" in queries:
            raise RetrieverUnavailable("down")
        return [[Hit(Passage(query, "", query), float(k))] for query in queries]


def told(answer: Future[list[list[Hit]]]) -> list[str]:
    return [hits[0].passage.text for hits in answer.result(10)]


def held(searcher: Gated, *later: tuple[Sequence[str], int]) -> list[Future[list[list[Hit]]]]:
    """Let one request begin, and the others come while it is under way."""
    batches = Batches(searcher)
    first = batches.ask(["first"], 3)
    assert searcher.begun.wait(10)
    return [first, *(batches.ask(queries, k) for queries, k in later)]


def test_what_comes_together_is_searched_together_without_repeats() -> None:
    searcher = Gated()
    answers = held(searcher, (["a", "b"], 3), ([], 3), (["b", "c", "b"], 3))
    searcher.gate.set()
    assert [told(answer) for answer in answers] == [["first"], ["a", "b"], [], ["b", "c", "b"]]
    assert searcher.calls == [(["first"], 3), (["a", "b", "c"], 3)]


def test_another_number_of_hits_is_another_search() -> None:
    searcher = Gated()
    answers = held(searcher, (["a"], 1), (["a"], 2), (["b"], 1))
    searcher.gate.set()
    assert [answer.result(10)[0][0].score for answer in answers[1:]] == [1, 2, 1]
    assert searcher.calls[1:] == [(["a", "b"], 1), (["a"], 2)]


def test_a_failure_is_of_those_who_were_in_it_and_of_no_later_one() -> None:
    searcher = Gated()
    answers = held(searcher, (["bad"], 3), (["a"], 3), (["a"], 1))
    searcher.gate.set()
    for answer in answers[1:3]:
        with pytest.raises(RetrieverUnavailable, match="down"):
            answer.result(10)
    assert told(answers[3]) == ["a"]


def test_a_batch_ends_where_it_is_large() -> None:
    searcher = Gated()
    answers = held(searcher, *(([f"{i} {j}" for j in range(MOST // 2)], 3) for i in range(3)))
    searcher.gate.set()
    wait(answers, 10)
    assert [len(queries) for queries, _ in searcher.calls] == [1, MOST, MOST // 2]


def test_who_has_gone_is_not_searched_for() -> None:
    searcher = Gated()
    answers = held(searcher, (["gone"], 3), (["here"], 3))
    assert answers[1].cancel()
    searcher.gate.set()
    assert told(answers[2]) == ["here"]
    assert searcher.calls[1:] == [(["here"], 3)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from("abcde"), max_size=4), st.integers(1, 3)), max_size=8))
def test_everybody_gets_what_was_asked(requests: list[tuple[list[str], int]]) -> None:
    searcher = Gated()
    answers = held(searcher, *requests)
    searcher.gate.set()
    got = [[(hits[0].passage.text, hits[0].score) for hits in answer.result(10)] for answer in answers[1:]]
    assert got == [[(query, k) for query in queries] for queries, k in requests]

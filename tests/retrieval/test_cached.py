import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval.cached import Cached, Counters
from sdsearch.retrieval.patience import MOST, Patience
from sdsearch.testing import check_retriever

PASSAGES = [Passage(f"p{i}", f"Title {i}", "text") for i in range(5)]


class Scripted:
    """Gives each query its own hits, after whatever stands in the queue: an error to raise or an answer to give."""

    def __init__(self, *queue: Any) -> None:
        self.queue, self.asked = deque(queue), list[tuple[list[str], int]]()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append((list(queries), k))
        if self.queue:
            said: Any = self.queue.popleft()
            if isinstance(said, Exception):
                raise said
            if said is not None:
                return said  # type: ignore[no-any-return]
        return [[Hit(p, 1.0 / (len(q) + 1)) for p in PASSAGES[:k]] for q in queries]


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.slept = list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def monotonic(self) -> float:
        return sum(self.slept)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("sdsearch.retrieval.cached.time", clock := Clock())
    monkeypatch.setattr("sdsearch.retrieval.cached.jitter", lambda least, most: most)
    return clock


DOWN = RetrieverUnavailable("down")
loose: Any = Hit
loose_passage: Any = Passage
"""These take anything: what comes over a wire has no types."""


def test_keeps_the_contract() -> None:
    check_retriever(Cached(Scripted()), PASSAGES)


def test_a_batch_is_asked_once_without_repeats() -> None:
    inner = Scripted()
    cached = Cached(inner)
    found = cached.search(["b", "a", "b", "ccc"], 2)
    assert [hits[0].score for hits in found] == [1 / 2, 1 / 2, 1 / 2, 1 / 4]
    assert inner.asked == [(["b", "a", "ccc"], 2)]


def test_known_queries_are_not_asked_again_but_another_k_is() -> None:
    inner = Scripted()
    cached = Cached(inner)
    first = cached.search(["a", "b"], 2)
    assert cached.search(["b", "new", "a"], 2)[::2] == first[::-1]
    cached.search(["a"], 3)
    cached.search([], 3)
    assert inner.asked == [(["a", "b"], 2), (["new"], 2), (["a"], 3)]


def test_what_a_caller_does_to_the_hits_stays_with_him() -> None:
    cached = Cached(Scripted())
    cached.search(["a"], 2)[0].clear()
    assert len(cached.search(["a"], 2)[0]) == 2


def test_the_least_recently_used_go_first() -> None:
    inner = Scripted()
    cached = Cached(inner, size=2)
    for query in ("a", "b", "a", "c", "a", "b"):
        cached.search([query], 1)
    assert [q for (q,), _ in inner.asked] == ["a", "b", "c", "b"]
    assert len(Cached(inner, size=1).search(["x", "y", "z"], 1)) == 3


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=12), st.integers(0, 4))
def test_a_cache_changes_no_answer(batches: list[list[str]], size: int) -> None:
    cached, plain = Cached(Scripted(), size=size), Scripted()
    for batch in batches:
        assert cached.search(batch, 2) == plain.search(batch, 2)


def test_counters(clock: Clock) -> None:
    cached = Cached(Scripted(DOWN), patience=Patience(pause=2))
    cached.search(["a", "a", "b"], 1)
    cached.search(["a", "c"], 1)
    assert cached.take() == Counters(calls=2, queries=5, unique=4, cached=1, retries=1, seconds=2)
    assert cached.take() == Counters()


def test_a_short_outage_is_waited_for(clock: Clock) -> None:
    assert Cached(Scripted(DOWN, DOWN)).search(["a"], 1) == [[Hit(PASSAGES[0], 0.5)]]
    assert clock.slept == [0.5, 1]


def test_a_long_outage_is_raised_and_not_remembered() -> None:
    inner = Scripted(DOWN, DOWN, DOWN)
    cached = Cached(inner, patience=Patience(retries=2, pause=0.001))
    with pytest.raises(RetrieverUnavailable, match="down; gave up after 3 attempts"):
        cached.search(["a"], 1)
    assert (cached.counters.outages, cached.counters.retries, len(inner.asked)) == (1, 2, 3)
    assert cached.search(["a"], 1)


def test_the_default_bound_is_the_one_that_is_stated(clock: Clock) -> None:
    with pytest.raises(RetrieverUnavailable, match="down; gave up after 4 attempts"):
        Cached(Scripted(*[DOWN] * 99)).search(["a"], 1)
    assert clock.slept == [0.5, 1, 2]
    assert sum(clock.slept) + 4 * Patience().seconds == 123.5
    assert "123.5 seconds" in str(Patience.__doc__)


def test_those_who_wait_for_a_server_do_not_come_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdsearch.retrieval.cached.time", clock := Clock())
    for _ in range(50):
        Cached(Scripted(DOWN, DOWN), patience=Patience(pause=1)).search(["a"], 1)
    first, second = clock.slept[::2], clock.slept[1::2]
    assert all(0.5 <= pause <= 1 for pause in first) and all(1 <= pause <= 2 for pause in second)
    assert len(set(first)) > 40 and max(first) - min(first) > 0.25


class Remote(Retriever):
    """A server that refuses to be reached for the first so many times."""

    refuses: int = 0

    def open(self) -> "Reached":
        return Reached(self.refuses)


class Reached(Scripted):
    def __init__(self, refuses: int) -> None:
        super().__init__()
        self.refuses, self.seconds = refuses, list[float]()

    def connect(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) <= self.refuses:
            raise RetrieverUnavailable("nobody there")


def test_opening_is_as_patient_as_a_search(clock: Clock) -> None:
    cached = Cached.opened(Remote(refuses=2), Patience(seconds=7, retries=2, pause=3))
    assert getattr(cached.searcher, "seconds", ()) == [7, 7, 7]
    assert (clock.slept, cached.counters.retries, cached.counters.calls) == ([3, 6], 2, 0)
    with pytest.raises(RetrieverUnavailable, match="nobody there; gave up after 3 attempts"):
        Cached.opened(Remote(refuses=3), Patience(retries=2))


class Hanging:
    """Hangs for its first calls, until it is released."""

    def __init__(self, times: int) -> None:
        self.times, self.calls, self.released = times, 0, threading.Event()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.calls += 1
        if self.calls <= self.times:
            self.released.wait(10)
        return [[] for _ in queries]


def test_a_searcher_that_hangs_is_left_behind() -> None:
    inner = Hanging(99)
    begun = time.monotonic()
    said = r"did not answer within 0\.1 s \(environment\.patience\.seconds\); gave up after 3 attempts"
    with pytest.raises(RetrieverUnavailable, match=said):
        Cached(inner, patience=Patience(seconds=0.1, retries=2, pause=0)).search(["a"], 1)
    assert time.monotonic() - begun < 9
    assert inner.calls == 3
    inner.released.set()


def test_only_so_many_calls_may_hang_and_they_are_counted() -> None:
    inner = Hanging(99)
    cached = Cached(inner, patience=Patience(seconds=0.01, retries=0))
    for i in range(MOST + 12):
        said = "did not answer" if i < MOST else f"{MOST} calls of the retriever have not come back"
        with pytest.raises(RetrieverUnavailable, match=said):
            cached.search(["a"], 1)
    assert inner.calls == MOST
    assert cached.take().hanging == MOST
    assert sum(thread.name == "search" and thread.is_alive() for thread in threading.enumerate()) == MOST
    inner.released.set()
    end = time.monotonic() + 5
    while cached.take().hanging and time.monotonic() < end:
        time.sleep(0.01)
    inner.times = 0
    assert cached.search(["a"], 1) == [[]]
    assert cached.take().hanging == 0


def test_a_searcher_that_empties_its_list_changes_nothing() -> None:
    class Greedy(Scripted):
        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            answer = super().search(queries, k)
            queries.clear()  # type: ignore[attr-defined]
            return answer

    assert [len(hits) for hits in Cached(Greedy()).search(["a", "b", "a"], 2)] == [2, 2, 2]


def test_one_call_that_hangs_is_tried_again() -> None:
    inner = Hanging(1)
    cached = Cached(inner, patience=Patience(seconds=0.2, pause=0))
    assert cached.search(["a"], 1) == [[]]
    assert (inner.calls, cached.counters.retries, cached.counters.outages) == (2, 1, 0)
    inner.released.set()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([], "got 0 lists, expected 1 lists of hits"),
        ("error: host 10.0.0.1", "got str, expected 1 lists"),
        ([None], "got NoneType, expected a list of at most 2 hits"),
        ([["text"]], "got the str 'text', expected a Hit"),
        ([[(PASSAGES[0], 1.0)]], "got the tuple"),
        ([[Hit(PASSAGES[0], float("nan"))]], "got the score nan, expected .* a finite score"),
        ([[Hit(PASSAGES[0], float("-inf"))]], "got the score -inf"),
        ([[loose(PASSAGES[0], None)]], "got the score None"),
        ([[loose(PASSAGES[0], "0.5")]], "got the score '0.5'"),
        ([[loose("p0", 0.5)]], "got the Hit"),
        ([[Hit(loose_passage("p0", None, "text"), 0.5)]], "got a passage of str, NoneType, str, expected .* of texts"),
        ([[Hit(loose_passage(7, "title", "text"), 0.5)]], "got a passage of int, str, str"),
        ([[Hit(p, 1.0) for p in PASSAGES[:3]]], "got 3 hits, expected a list of at most 2"),
        ([[loose(PASSAGES[0], 10**400)]], "got the score 1000.*, expected .* a finite score"),
        ([[Hit(PASSAGES[0], 0.5), Hit(PASSAGES[1], 0.6)]], "got the score 0.6 after 0.5, expected the best first"),
        ([[Hit(PASSAGES[0], 0.5), Hit(PASSAGES[0], 0.5)]], "got a passage twice in a list"),
        (
            [[Hit(PASSAGES[0], 0.5), Hit(Passage("p0", "Title 0", "other"), 0.5)]],
            "got two passages with the id 'p0', expected one text for each id",
        ),
        ([[Hit(Passage("p0", "", "x" * 20_000_000), 0.5)]], "got the passage 'p0' of 20,000,000 characters"),
        ([[Hit(Passage("p0", "", "half a \ud83d"), 0.5)]], "got the passage 'p0' with a lone surrogate"),
    ],
)
def test_a_wrong_answer_is_an_outage(answer: Any, complaint: str) -> None:
    with pytest.raises(RetrieverUnavailable, match=complaint):
        Cached(Scripted(answer), patience=Patience(retries=0)).search(["a"], 2)


def test_an_id_is_one_passage_in_all_lists_of_an_answer() -> None:
    answer = [[Hit(PASSAGES[0], 0.5)], [Hit(Passage("p0", "Title 0", "other"), 0.5)]]
    with pytest.raises(RetrieverUnavailable, match="two passages with the id 'p0'"):
        Cached(Scripted(answer), patience=Patience(retries=0)).search(["a", "b"], 2)


def test_scores_of_numpy_are_numbers() -> None:
    assert Cached(Scripted([[loose(PASSAGES[0], np.float32(0.5))]])).search(["a"], 1)[0][0].score == 0.5


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("no route"), BrokenPipeError("gone"), TimeoutError("slow"), OSError("disk")]
)
def test_what_the_world_does_to_a_searcher_is_an_outage(clock: Clock, error: OSError) -> None:
    inner = Scripted(*[error] * 4)
    with pytest.raises(RetrieverUnavailable, match=rf"failed \({type(error).__name__}: {error}\); gave up after 4"):
        Cached(inner).search(["a"], 1)
    assert len(inner.asked) == 4


def test_a_mistake_is_raised_as_it_is_and_at_once() -> None:
    for mistake in (ZeroDivisionError("mine"), KeyError("mine")):
        inner = Scripted(mistake)
        with pytest.raises(type(mistake), match="mine"):
            Cached(inner).search(["a"], 1)
        assert len(inner.asked) == 1

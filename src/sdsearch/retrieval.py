"""What stands between an environment and a searcher: one batch without repeats, a cache, and patience with limits."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sdsearch.errors import RetrieverUnavailable
from sdsearch.types import Hit, Passage, Searcher


@dataclass
class Counters:
    """What was asked since the counters were last taken."""

    calls: int = 0
    """Calls of `search`."""
    queries: int = 0
    """Queries in them."""
    unique: int = 0
    """Queries that differ from all others of the same call."""
    cached: int = 0
    """Unique queries that the cache answered; `unique - cached` went to the searcher."""
    retries: int = 0
    """Attempts after a failed one."""
    outages: int = 0
    """Calls that failed for good."""
    seconds: float = 0.0
    """Time spent in `search`, waiting included."""


class Cached:
    """A searcher that asks another one as little as it can, and gives up on it after a bounded time.

    Repeated queries of a batch are sent once; answers are kept, the least recently used going first. Failures are
    tried again with a growing pause and are never cached. It is a `Searcher` itself, for one caller at a time.
    """

    def __init__(
        self, searcher: Searcher, size: int = 100_000, retries: int = 3, pause: float = 0.5, patience: float = 60.0
    ) -> None:
        """Take the searcher and the limits.

        Args:
            searcher: what is asked.
            size: answers kept; 0 keeps none.
            retries: attempts after the first.
            pause: seconds before the second attempt, doubled before each further one.
            patience: seconds that a call may take with all its attempts and pauses.
        """
        self.searcher, self.size, self.retries, self.pause, self.patience = searcher, size, retries, pause, patience
        self.counters = Counters()
        self._known: OrderedDict[tuple[str, int], tuple[Hit, ...]] = OrderedDict()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query; see `sdsearch.types.Searcher`.

        Raises `RetrieverUnavailable` when all attempts failed or the time is up.
        """
        start = time.monotonic()
        try:
            answers = self._answers(list(dict.fromkeys(queries)), k)
            return [list(answers[query]) for query in queries]
        except RetrieverUnavailable:
            self.counters.outages += 1
            raise
        finally:
            self.counters.calls += 1
            self.counters.queries += len(queries)
            self.counters.seconds += time.monotonic() - start

    def take(self) -> Counters:
        """Return the counters and start them at zero."""
        taken, self.counters = self.counters, Counters()
        return taken

    def _answers(self, unique: list[str], k: int) -> dict[str, tuple[Hit, ...]]:
        answers = {query: self._known[query, k] for query in unique if (query, k) in self._known}
        self.counters.unique += len(unique)
        self.counters.cached += len(answers)
        for query in answers:
            self._known.move_to_end((query, k))
        if missing := [query for query in unique if query not in answers]:
            for query, hits in zip(missing, self._patiently(missing, k), strict=True):
                answers[query] = self._known[query, k] = tuple(hits)
        while len(self._known) > self.size:
            self._known.popitem(last=False)
        return answers

    def _patiently(self, queries: list[str], k: int) -> list[list[Hit]]:
        start = time.monotonic()
        end = start + self.patience
        pause = self.pause
        for attempt in itertools.count(1):
            try:
                return checked(within(end - time.monotonic(), self.searcher, queries, k), len(queries), k)
            except RetrieverUnavailable as error:
                if attempt > self.retries or time.monotonic() + pause >= end:
                    spent = f"gave up after {attempt} attempts and {time.monotonic() - start:.1f} s"
                    raise RetrieverUnavailable(f"{error}; {spent}") from error
            self.counters.retries += 1
            time.sleep(pause)
            pause *= 2
        raise AssertionError


def within(seconds: float, searcher: Searcher, queries: Sequence[str], k: int) -> list[list[Hit]]:
    """Return the searcher's answer. Raises `RetrieverUnavailable` when it takes longer than `seconds`."""
    future: Future[list[list[Hit]]] = Future()

    def run() -> None:
        try:
            future.set_result(searcher.search(queries, k))
        except BaseException as error:
            future.set_exception(error)

    # A call that hangs cannot be ended, only left behind: a daemon does not keep the process alive.
    threading.Thread(target=run, name="search", daemon=True).start()
    try:
        return future.result(max(0.0, seconds))
    except TimeoutError:
        if future.done():
            raise
        raise RetrieverUnavailable("the retriever did not answer in time") from None


def checked(answer: Any, count: int, k: int) -> list[list[Hit]]:
    """Return the answer to `count` queries if it is one. Raises `RetrieverUnavailable` for anything else."""
    if not isinstance(answer, list) or len(answer) != count:
        got = f"{len(answer)} lists" if isinstance(answer, list) else type(answer).__name__
        raise RetrieverUnavailable(f"the retriever answered wrongly: got {got}, expected {count} lists of hits")
    for hits in answer:
        if not isinstance(hits, list) or len(hits) > k:
            got = f"{len(hits)} hits" if isinstance(hits, list) else type(hits).__name__
            raise RetrieverUnavailable(
                f"the retriever answered wrongly: got {got}, expected a list of at most {k} hits"
            )
        for hit in hits:
            if not (isinstance(hit, Hit) and isinstance(hit.passage, Passage) and math.isfinite(hit.score)):
                got = type(hit).__name__
                raise RetrieverUnavailable(
                    f"the retriever answered wrongly: got {got}, expected a Hit of a Passage and a finite score"
                )
    return answer

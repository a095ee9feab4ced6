"""What stands between an environment and a searcher: one batch without repeats, a cache, and patience with limits."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from numbers import Real
from random import SystemRandom
from typing import Any, Self, TypeVar

from pydantic import Field

from sdsearch.config.component import Settings
from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RetrieverUnavailable

T = TypeVar("T")
# Not the seeds of a run: several processes of one, which have the same, are not to wait alike.
jitter = SystemRandom().uniform


class Patience(Settings):
    """How long a search may take before it is an outage: with the defaults at most 123.5 seconds."""

    seconds: float = Field(30.0, gt=0)
    """The time limit of one attempt."""
    retries: int = Field(3, ge=0)
    """Attempts after the first."""
    pause: float = Field(0.5, ge=0)
    """Seconds before the second attempt, doubled before each further one; up to half of them is left out by chance, so
    that those who lost a server together do not come back together."""


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

    def __init__(self, searcher: Searcher, size: int = 100_000, patience: Patience | None = None) -> None:
        """Take the searcher, the number of answers to keep (0 keeps none) and the time limits."""
        self.searcher, self.size, self.patience = searcher, size, patience or Patience()
        self.counters = Counters()
        self._known: OrderedDict[tuple[str, int], tuple[Hit, ...]] = OrderedDict()

    @classmethod
    def opened(cls, retriever: Retriever, patience: Patience | None = None) -> Self:
        """Open a retriever, and reach the server that it asks, if any, as patiently as it will be searched.

        Raises `RetrieverUnavailable` when all attempts to reach it failed.
        """
        cached = cls(retriever.open(), patience=patience)
        if connect := getattr(cached.searcher, "connect", None):
            cached._patiently(partial(connect, cached.patience.seconds))
        return cached

    @property
    def fingerprint(self) -> str | None:
        """Names what the searcher searches; None where it does not say."""
        return getattr(self.searcher, "fingerprint", None)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query; see `sdsearch.contracts.retrieval.Searcher`.

        Raises `RetrieverUnavailable` when all attempts failed.
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

    def state_dict(self) -> dict[str, Any]:
        """Return the answers that are kept, oldest first: a run that goes on without them would batch otherwise."""
        passages = list(dict.fromkeys(hit.passage for hits in self._known.values() for hit in hits))
        index = {p: i for i, p in enumerate(passages)}
        known = [[*key, [[index[h.passage], float(h.score)] for h in hits]] for key, hits in self._known.items()]
        return {"passages": [[p.id, p.title, p.text] for p in passages], "known": known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take kept answers back."""
        passages = [Passage(*fields) for fields in state["passages"]]
        self._known = OrderedDict(
            ((query, k), tuple(Hit(passages[i], score) for i, score in hits)) for query, k, hits in state["known"]
        )

    def _answers(self, unique: list[str], k: int) -> dict[str, tuple[Hit, ...]]:
        answers = {query: self._known[query, k] for query in unique if (query, k) in self._known}
        self.counters.unique += len(unique)
        self.counters.cached += len(answers)
        for query in answers:
            self._known.move_to_end((query, k))
        if missing := [query for query in unique if query not in answers]:
            lists = self._patiently(lambda: checked(self.searcher.search(missing, k), len(missing), k))
            for query, hits in zip(missing, lists, strict=True):
                answers[query] = self._known[query, k] = tuple(hits)
        while len(self._known) > self.size:
            self._known.popitem(last=False)
        return answers

    def _patiently(self, call: Callable[[], T]) -> T:
        for attempt in range(self.patience.retries + 1):
            try:
                return within(self.patience.seconds, call)
            except RetrieverUnavailable as error:
                failure = error
            if attempt < self.patience.retries:
                self.counters.retries += 1
                time.sleep(self.patience.pause * 2**attempt * jitter(0.5, 1))
        raise RetrieverUnavailable(f"{failure}; gave up after {self.patience.retries + 1} attempts") from failure


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what the call of a searcher returns. Raises `RetrieverUnavailable` when it takes longer than `seconds`.

    An `OSError`, which is what broken connections, pipes and disks raise, is an outage too; any other error is a fault
    of the program and is raised as it is.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # A call that hangs cannot be ended, only left behind: a daemon does not keep the process alive.
    threading.Thread(target=run, name="search", daemon=True).start()
    try:
        return future.result(seconds)
    except OSError as error:
        if not future.done():
            message = f"the retriever did not answer within {seconds:g} s (environment.patience.seconds)"
            raise RetrieverUnavailable(message) from None
        raise RetrieverUnavailable(f"the retriever failed ({type(error).__name__}: {error})") from error


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
            if wrong := fault(hit):
                raise RetrieverUnavailable(
                    f"the retriever answered wrongly: got {wrong}, expected a Hit of a Passage of texts and a finite "
                    "score"
                )
    return answer


def fault(hit: Any) -> str:
    """Return what keeps something from being a hit that can be shown, ranked and recorded; nothing if it is one."""
    if not isinstance(hit, Hit) or not isinstance(hit.passage, Passage):
        return f"the {type(hit).__name__} {hit!r:.80}"
    texts = (hit.passage.id, hit.passage.title, hit.passage.text)
    if not all(isinstance(text, str) for text in texts):
        return f"a passage of {', '.join(type(text).__name__ for text in texts)}"
    if not isinstance(hit.score, Real) or not math.isfinite(hit.score):
        return f"the score {hit.score!r:.80}"
    return ""

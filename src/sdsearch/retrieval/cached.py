"""What stands between an environment and a searcher: one batch without repeats, a cache, and patience with limits."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from typing import Any, Self, TypeVar

from sdsearch.contracts.retrieval import Retriever, Searcher, fault
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval import opening
from sdsearch.retrieval.patience import Hanging, Patience, within

T = TypeVar("T")
# Not the seeds of a run: several processes of one, which have the same, are not to wait alike.
jitter = SystemRandom().uniform


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
    hanging: int = 0
    """Attempts that were left behind and have not come back; with eight of them no further one is begun."""
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
        self.counters, self.hanging = Counters(), Hanging()
        self._known: OrderedDict[tuple[str, int], tuple[Hit, ...]] = OrderedDict()

    @classmethod
    def opened(cls, retriever: Retriever, patience: Patience | None = None) -> Self:
        """Open a retriever, and reach the server that it asks, if any, as patiently as it will be searched.

        Raises `RetrieverUnavailable` when all attempts to reach it failed.
        """
        cached = cls(opening.opened(retriever, patience), patience=patience)
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
        taken.hanging = len(self.hanging)
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
            # A list of its own: what a searcher does to it must not change what was asked.
            lists = self._patiently(lambda: checked(self.searcher.search(list(missing), k), len(missing), k))
            for query, hits in zip(missing, lists, strict=True):
                answers[query] = self._known[query, k] = tuple(hits)
        while len(self._known) > self.size:
            self._known.popitem(last=False)
        return answers

    def _patiently(self, call: Callable[[], T]) -> T:
        for attempt in range(self.patience.retries + 1):
            try:
                return within(self.patience.seconds, call, hanging=self.hanging)
            except RetrieverUnavailable as error:
                failure = error
            if attempt < self.patience.retries:
                self.counters.retries += 1
                time.sleep(self.patience.pause * 2**attempt * jitter(0.5, 1))
        raise RetrieverUnavailable(f"{failure}; gave up after {self.patience.retries + 1} attempts") from failure


def checked(answer: Any, count: int, k: int) -> list[list[Hit]]:
    """Return the answer to `count` queries if it keeps the rule of `Searcher`. Raises `RetrieverUnavailable` if not."""
    if wrong := fault(answer, count, k):
        raise RetrieverUnavailable(f"the retriever answered wrongly: got {wrong}")
    hits: list[list[Hit]] = answer
    return hits

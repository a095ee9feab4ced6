"""Requests that arrive together become one search: whoever comes while one is under way is in the next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import NamedTuple

from sdsearch.contracts.retrieval import Searcher
from sdsearch.core.question import Hit
from sdsearch.errors import SdsearchError
from sdsearch.retrieval.cached import checked

MOST = 512
"""Queries after which a batch takes no further request."""

log = logging.getLogger("sdsearch.serving")


class Asked(NamedTuple):
    """Queries of one request, and where its answer goes."""

    queries: tuple[str, ...]
    k: int
    answer: Future[list[list[Hit]]]


class Batches:
    """Asks a searcher in one thread: one call at a time, each query of a batch once.

    Nobody waits for others to come: what gathers is what came while the searcher was busy.
    """

    def __init__(self, searcher: Searcher) -> None:
        """Take an opened searcher and begin."""
        self.searcher = searcher
        self.waiting: SimpleQueue[Asked] = SimpleQueue()
        # A search that hangs must not keep the process from ending.
        threading.Thread(target=self._work, name="batches", daemon=True).start()

    def ask(self, queries: Sequence[str], k: int) -> Future[list[list[Hit]]]:
        """Return what will hold up to `k` hits for each query, or the error that the searcher raised."""
        asked = Asked(tuple(queries), k, Future())
        self.waiting.put(asked)
        return asked.answer

    def _work(self) -> None:
        while True:
            batch = [self.waiting.get()]
            while sum(len(asked.queries) for asked in batch) < MOST:
                try:
                    batch.append(self.waiting.get_nowait())
                except Empty:
                    break
            # Fewer hits are not always the first of more: an index that is searched approximately finds others.
            for k in dict.fromkeys(asked.k for asked in batch):
                self._search([asked for asked in batch if asked.k == k], k)

    def _search(self, batch: Sequence[Asked], k: int) -> None:
        # A request whose client has gone is cancelled; one that has begun cannot be any more.
        batch = [asked for asked in batch if asked.answer.set_running_or_notify_cancel()]
        unique = list(dict.fromkeys(query for asked in batch for query in asked.queries))
        try:
            found = checked(self.searcher.search(unique, k), len(unique), k) if unique else []
        except Exception as error:
            outage = isinstance(error, SdsearchError | OSError)
            log.error("the retriever failed: %s", error, exc_info=not outage)
            for asked in batch:
                asked.answer.set_exception(error)
            return
        hits = dict(zip(unique, found, strict=True))
        for asked in batch:
            asked.answer.set_result([hits[query] for query in asked.queries])

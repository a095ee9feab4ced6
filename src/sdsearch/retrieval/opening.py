"""How a retriever is opened: how long a server may take to answer, and whether every byte of an index is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.retrieval.patience import Patience, within

T = TypeVar("T")


@dataclass(frozen=True)
class Opening:
    """What holds for all that is opened meanwhile."""

    patience: Patience
    """For each call of a server."""
    whole: bool
    """Check all of a large index, and not a sample of it."""


_now: ContextVar[Opening | None] = ContextVar("opening", default=None)


def now() -> Opening:
    """Return what holds."""
    return _now.get() or Opening(Patience(), False)


@contextmanager
def opening(patience: Patience | None = None, whole: bool = False) -> Iterator[None]:
    """Let this hold for what is opened inside."""
    token = _now.set(Opening(patience or Patience(), whole))
    try:
        yield
    finally:
        _now.reset(token)


def opened(retriever: Retriever, patience: Patience | None = None, whole: bool = False) -> Searcher:
    """Open a retriever; its servers must answer each call within `patience.seconds`, embedding takes what it takes."""
    with opening(patience, whole):
        return retriever.open()


def bounded(call: Callable[[], T]) -> T:
    """Return what a call of a server returns. Raises `RetrieverUnavailable` when it takes longer than it may."""
    return within(now().patience.seconds, call, "while it was opened")

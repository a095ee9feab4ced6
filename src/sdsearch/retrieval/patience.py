"""Patience with limits: what takes too long is left behind, and only so much may be left behind at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pydantic import Field

from sdsearch.config.component import Settings
from sdsearch.errors import RetrieverUnavailable

T = TypeVar("T")

MOST = 8
"""Calls that may hang at once; while so many do, no further one is begun."""


class Patience(Settings):
    """How long a search may take before it is an outage: with the defaults at most 123.5 seconds.

    While a retriever is opened, `seconds` is the limit of each call of its server.
    """

    seconds: float = Field(30.0, gt=0, le=10**6)
    """The time limit of one attempt."""
    retries: int = Field(3, ge=0, le=1000)
    """Attempts after the first."""
    pause: float = Field(0.5, ge=0, le=3600)
    """Seconds before the second attempt, doubled before each further one; up to half of them is left out by chance, so
    that those who lost a server together do not come back together."""


class Hanging:
    """The calls that were left behind and have not come back. A thread cannot be ended: each of them keeps one."""

    def __init__(self) -> None:
        """Begin with none."""
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many have not come back yet."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            return len(self._threads)

    def add(self, thread: threading.Thread) -> None:
        """Take a thread that was left behind."""
        with self._lock:
            self._threads.append(thread)


HANGING = Hanging()
"""Those of this process."""


def within(seconds: float, call: Callable[[], T], when: str = "", hanging: Hanging = HANGING) -> T:
    """Return what `call` returns. Raises `RetrieverUnavailable` when it takes longer, or too many hang already.

    An `OSError`, which is what broken connections, pipes and disks raise, is an outage too; any other error is a fault
    of the program and is raised as it is.
    """
    if (count := len(hanging)) >= MOST:
        raise RetrieverUnavailable(
            f"{count} calls of the retriever have not come back, expected fewer than {MOST}: none is begun beside them"
        )
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # A call that hangs cannot be ended, only left behind: a daemon does not keep the process alive.
    thread = threading.Thread(target=run, name="search", daemon=True)
    thread.start()
    try:
        return future.result(seconds)
    except OSError as error:
        if not future.done():
            hanging.add(thread)
            late = f"the retriever did not answer within {seconds:g} s {when}".rstrip()
            raise RetrieverUnavailable(f"{late} (environment.patience.seconds)") from None
        raise RetrieverUnavailable(f"the retriever failed ({type(error).__name__}: {error})") from error

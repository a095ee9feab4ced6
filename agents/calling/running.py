"""A function at work in a thread of its own: it stops at every search, until it is shown what was found."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from sdsearch.errors import ModelUnavailable


class Wish(NamedTuple):
    """What a function wants: to "search" for something, or to be done, with an "answer"."""

    kind: str
    text: str


class Over(BaseException):
    """Ends a function that waits in an episode which has ended; no `except Exception` of its own keeps it."""


class Running:
    """A call that is under way. Between two wishes its code runs, and no longer than it is given."""

    def __init__(self, call: Callable[[Callable[[str], str]], object]) -> None:
        """Begin the call, which is given a function to search with."""
        self.wishes: SimpleQueue[Wish | BaseException] = SimpleQueue()
        self.shown: SimpleQueue[str | None] = SimpleQueue()
        self.since, self.over, self.turn = time.monotonic(), False, Lock()
        self.done: Wish | None = None
        # A call that hangs cannot be ended, only left behind: a daemon does not keep the process alive.
        Thread(target=self._run, args=(call,), name="callable", daemon=True).start()

    def show(self, text: str) -> None:
        """Let it go on with what its last search found."""
        self.since = time.monotonic()
        if self.done is None:
            self.shown.put(text)

    def wish(self, seconds: float) -> Wish:
        """Wait for the next wish; a call that is done has the same one again.

        Raises what the function raised, and `ModelUnavailable` when it takes longer than `seconds`.
        """
        if self.done:
            return self.done
        try:
            wish = self.wishes.get(timeout=max(0.0, self.since + seconds - time.monotonic()))
        except Empty:
            raise ModelUnavailable(f"it took longer than {seconds:g} s for a turn (agent.seconds)") from None
        if isinstance(wish, BaseException):
            raise wish
        if wish.kind == "answer":
            self.done = wish
        return wish

    def end(self) -> None:
        """Let a function that waits for what it has searched wait no longer: its episode is over."""
        self.over = True
        self.shown.put(None)

    def _run(self, call: Callable[[Callable[[str], str]], object]) -> None:
        try:
            answer = call(self._search)
            if not isinstance(answer, str):
                raise TypeError(f"the agent's function returned {type(answer).__name__}, expected str")
            self.wishes.put(Wish("answer", answer))
        except Over:
            pass
        except BaseException as error:
            self.wishes.put(error)

    def _search(self, query: str) -> str:
        """Search for something, and return what the environment shows."""
        if not isinstance(query, str):
            raise TypeError(f"got the query {query!r:.80}, expected str")
        with self.turn:  # one search is one turn, also where an agent makes several at once
            if self.over:
                raise Over
            self.wishes.put(Wish("search", query))
            shown = self.shown.get()
        if shown is None:
            raise Over
        return shown

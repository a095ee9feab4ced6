"""How far an index is: a bar on a terminal; elsewhere a line every ten seconds, however long one batch takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from sdsearch.terminal.progress import Bars

EVERY = 10.0
"""Seconds between two lines."""


@contextmanager
def progress(name: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more are done; an earlier run may have come to `done`.

    It goes to standard error: what a command prints stays clean.
    """
    console, start, begun = Console(stderr=True), done, time.monotonic()
    ended = threading.Event()

    def rate() -> str:
        each = (done - start) / max(1e-9, time.monotonic() - begun)
        left = f", {(total - done) / each:,.0f} s to go" if done < total and each else ""
        return f"{each:,.0f}/s{left}"

    def lines() -> None:
        while not ended.wait(EVERY):
            console.print(f"{name}: {done}/{total}  {rate()}", highlight=False)

    if console.is_terminal:
        with Bars(console) as bars:
            task = bars.task(name, total)
            task.advance(done)

            def shown(count: int) -> None:
                nonlocal done
                done += count
                task.advance(count, rate())

            yield shown
        return

    def counted(count: int) -> None:
        nonlocal done
        done += count

    ticking = threading.Thread(target=lines, name="progress", daemon=True)
    ticking.start()
    try:
        yield counted
        console.print(f"{name}: {done}/{total}  {rate()}", highlight=False)
    finally:
        ended.set()
        ticking.join()

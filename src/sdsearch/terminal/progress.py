"""Show how far a long job is: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Task:
    """One job of known length."""

    def __init__(self, bars: Bars, name: str, total: int) -> None:
        """Start at zero."""
        self.bars, self.name, self.total, self.done, self.last = bars, name, total, 0, time.monotonic()
        self.bar = bars.rich.add_task(name, total=total) if bars.rich else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more are done; off a terminal, a line at most every ten seconds and one at the end."""
        self.done += count
        label = f"{self.name}  {note}" if note else self.name
        if self.bars.rich and self.bar is not None:
            self.bars.rich.update(self.bar, completed=self.done, description=label)
        elif self.done >= self.total or time.monotonic() - self.last > 10:
            self.line(note)

    def line(self, note: str = "") -> None:
        """Print a line on where the job is."""
        self.last = time.monotonic()
        self.bars.console.print(f"{self.name}: {self.done}/{self.total}{'  ' + note if note else ''}", highlight=False)


class Bars:
    """The progress display of one command; use as a context manager."""

    def __init__(self, console: Console | None = None, beat: float = 0.0) -> None:
        """Show on `console` (default: standard output).

        `beat`: off a terminal, say how far it is at least every so many seconds, also where nothing advances meanwhile.
        """
        self.console = console or Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.rich = Progress(*columns, console=self.console) if self.console.is_terminal else None
        self.tasks: list[Task] = []
        self.began, self._over = time.monotonic(), threading.Event()
        self.heart = threading.Thread(target=self._beat, args=(beat,), daemon=True) if beat and not self.rich else None

    def __enter__(self) -> Self:
        """Start the display."""
        if self.rich:
            self.rich.start()
        if self.heart:
            self.heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        if self.rich:
            self.rich.stop()
        self._over.set()
        if self.heart:
            self.heart.join()

    def task(self, name: str, total: int) -> Task:
        """Begin a job of `total` pieces."""
        self.tasks.append(Task(self, name, total))
        return self.tasks[-1]

    def _beat(self, seconds: float) -> None:
        """Repeat where the newest job is, whenever it has not said so for nearly that long."""
        while not self._over.wait(seconds / 20):
            task = self.tasks[-1] if self.tasks else None
            if task and task.done < task.total and time.monotonic() - task.last > 0.9 * seconds:
                task.line(f"after {time.monotonic() - self.began:.0f} s")

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self.console.print(line, highlight=False, markup=False)

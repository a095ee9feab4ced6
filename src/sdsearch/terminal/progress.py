"""Show how far a long job is: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

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
            self.last = time.monotonic()
            self.bars.console.print(
                f"{self.name}: {self.done}/{self.total}{'  ' + note if note else ''}", highlight=False
            )


class Bars:
    """The progress display of one command; use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        """Show on `console` (default: standard output)."""
        self.console = console or Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.rich = Progress(*columns, console=self.console) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        """Start the display."""
        if self.rich:
            self.rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        if self.rich:
            self.rich.stop()

    def task(self, name: str, total: int) -> Task:
        """Begin a job of `total` pieces."""
        return Task(self, name, total)

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self.console.print(line, highlight=False, markup=False)

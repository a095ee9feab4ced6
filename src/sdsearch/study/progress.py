"""How far a study is: a table of its arms on a terminal, a line for each run that ends elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sdsearch.study.record import Record
from sdsearch.study.spec import Job


class Board:
    """Use as a context manager."""

    def __init__(self, jobs: Sequence[Job], done: Sequence[Job], console: Console) -> None:
        """Show `jobs`, of which `done` ran earlier."""
        self.console = console
        self.jobs, self.finished, self.failed = jobs, list(done), list[Job]()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin."""
        if self.finished:
            self.say(f"{len(self.finished)} of {len(self.jobs)} runs are there already")
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last table on the screen."""
        if self.live:
            self.live.stop()

    def say(self, line: str) -> None:
        """Print above the table."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def ended(self, job: Job, wrong: str) -> None:
        """Say that a run has ended, and what went wrong with it, if anything."""
        (self.failed if wrong else self.finished).append(job)
        count = f"[{len(self.finished) + len(self.failed)}/{len(self.jobs)}] {job.name}"
        if wrong:
            self.say(f"{count}: FAILED: {wrong}")
        else:
            record = Record.of(job)
            self.say(
                f"{count}: exact match {record.final:.3f} after {record.steps} steps, "
                f"{record.spent.rollouts:.0f} rollouts, {record.spent.seconds:.0f} s"
            )

    def show(self, running: Sequence[Job]) -> None:
        """Show the table as it is now; off a terminal there is none."""
        if self.live:
            self.live.update(self.table(running), refresh=True)

    def table(self, running: Sequence[Job]) -> Table:
        """Return a row for each arm."""
        shown = Table("arm", "done", "failed", "running", "exact match")
        for arm in dict.fromkeys(job.arm for job in self.jobs):
            mine = [job for job in self.jobs if job.arm == arm]
            finished = [Record.of(job).final for job in mine if job in self.finished]
            now = [(job, Record.of(job)) for job in mine if job in running]
            shown.add_row(
                arm,
                f"{len(finished)}/{len(mine)}",
                str(sum(job in self.failed for job in mine) or ""),
                ", ".join(f"seed {job.seed}: step {record.steps}" for job, record in now),
                f"{sum(finished) / len(finished):.3f}" if finished else "",
            )
        return shown

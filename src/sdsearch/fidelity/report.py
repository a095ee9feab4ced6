"""What a judgement says: a table for the terminal and the same as a page for readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sdsearch.fidelity.advantages import LEVEL
from sdsearch.fidelity.scores import Scores
from sdsearch.store.run import replace
from sdsearch.study.bootstrap import Estimate

COLUMNS = ("within", "queries", "pooled", "sign", "on idle turns", "credited")
CEILING = "(a perfect credit, against these estimates)"
READING = """\
Each row is a credit, compared with the advantages of the same turns. *within*: Spearman's correlation over the turns of
a trajectory, its mean over trajectories; a credit that is the same for all turns has 0. *queries*: the same over those
turns alone that search. *pooled*: the same over all turns together. *sign*: the share of the turns whose advantage is
certainly not 0 that the credit gives the right sign. *on idle turns*: the share of all credit that lies on turns which
cannot be told from turns that did not matter. *credited*: the share of turns with any credit; the others are left out
of the row. {intervals} How to read it, and what it cannot tell: docs/fidelity.md."""


@dataclass(frozen=True)
class Report:
    """A table of credits, and what it needs to be read."""

    figures: Mapping[str, str | int | float]
    rows: Sequence[Sequence[str]]
    """The name of a credit, then a cell for each of `COLUMNS`."""
    skipped: Mapping[str, str]
    """What was not judged, and why."""
    over: str
    """What the intervals are over: "questions"."""

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title="credit against true advantages", box=SIMPLE_HEAD, padding=0)
        table.add_column("credit", no_wrap=True)
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for name, value in self.figures.items():
            console.print(f"{name}: {value}", highlight=False, markup=False)
        for name, why in self.skipped.items():
            console.print(f"not judged: {name}: {why}", highlight=False, markup=False)

    def markdown(self) -> str:
        """Return the page."""
        head = ("credit", *COLUMNS)
        lines = ["# Is the credit right?", "", *(f"- {name}: {value}" for name, value in self.figures.items()), ""]
        lines += [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *self.rows)]
        lines += ["", READING.format(intervals=f"In brackets: {LEVEL:.0%} bootstrap intervals over {self.over}.")]
        if self.skipped:
            lines += ["", "Not judged:", "", *(f"- {name}: {why}" for name, why in self.skipped.items())]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `fidelity.md` into a folder and return it."""
        path = folder / "fidelity.md"
        replace(path, lambda file: file.write_text(self.markdown()))
        return path


def cells(name: str, found: Scores) -> list[str]:
    """Return the row of a credit."""
    return [
        name,
        *map(shown, (found.within, found.queries, found.pooled, found.sign, found.idle)),
        f"{found.credited:.0%}",
    ]


def ceiling(*ranks: Estimate) -> list[str]:
    """Return the row of what a perfect credit would get: intervals know of the noise, so that ranks alone have it."""
    return [CEILING, *map(shown, ranks), "", "", ""]


def shown(value: Estimate) -> str:
    """Return an estimate as text, with its interval if it has one."""
    if math.isnan(value.value):
        return "-"
    ends = "" if value.low is None else f" [{value.low:.2f}, {value.high:.2f}]"
    return f"{value.value:.2f}{ends}"

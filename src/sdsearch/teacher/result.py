"""What was found of a spec's teachers: a table, JSON, and a line for each token."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sdsearch.core.statistics import Estimate
from sdsearch.core.trajectory import Group
from sdsearch.runs.folder import replace
from sdsearch.teacher.figures import FIGURES, Heard

READING = (
    "Nats a query, over queries of groups with right and wrong attempts; in brackets 95 % t intervals over "
    "groups. Label effect: how much better the hint with true labels fits the outcome than the same with every "
    "label turned round; a teacher that reads no labels has 0. Against another question's: the same for a hint "
    "without labels, with another question's hint in place of the turned one. Gap: with the hint less without. "
    "Self-copy: with the own attempt in the hint less without it."
)


@dataclass(frozen=True)
class Result:
    """What a policy makes of hints."""

    about: Mapping[str, str | int | float]
    groups: Sequence[Group]
    heard: Mapping[str, Heard]
    figures: Mapping[str, Mapping[str, Estimate]]
    """Of each hint, by name."""
    skipped: Mapping[str, str]
    """What could not be judged, and why."""

    def show(self, console: Console) -> None:
        """Print a line for each figure, and a column for each hint; as many side by side as fit."""
        names = list(self.figures)
        widest = max((len(str(e)) for f in self.figures.values() for e in f.values()), default=10)
        fit = max(1, (console.width - 30) // (max([widest, *map(len, names)], default=10) + 2))
        for start in range(0, len(names), fit):
            some = names[start : start + fit]
            table = Table(box=SIMPLE_HEAD, padding=(0, 1))
            table.add_column("")
            for name in some:
                table.add_column(name, justify="right", no_wrap=True)
            for figure, label in FIGURES.items():
                if any(figure in self.figures[name] for name in some):
                    cells = (self.figures[name].get(figure) for name in some)
                    table.add_row(label, *("-" if cell is None else str(cell) for cell in cells))
            console.print(table)
        for key, value in self.about.items():
            console.print(f"{key}: {value}", highlight=False, markup=False)
        for name, why in self.skipped.items():
            console.print(f"not judged: {name}: {why}", highlight=False, markup=False)
        console.print(READING, highlight=False, markup=False)

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        hints = {name: {f: e._asdict() for f, e in figures.items()} for name, figures in self.figures.items()}
        return {"about": dict(self.about), "hints": hints, "skipped": dict(self.skipped)}

    def save(self, path: Path) -> None:
        """Write a CSV file with a line for each token of a query: where it stands, and how likely it is under what."""
        columns = {
            f"{name}/{kind}": numbers for name, heard in self.heard.items() for kind, numbers in heard.under.items()
        }
        first = next(iter(self.heard.values()))
        owners = [(g.question.id, n, t) for g in self.groups for n, t in enumerate(g.trajectories) if not t.lost]

        def write(file: Path) -> None:
            with file.open("w", newline="", encoding="utf-8") as opened:
                out = csv.writer(opened)
                head = ("question", "trajectory", "turn", "row", "token", "right", "reward", "plain", *columns)
                out.writerow(head)
                queries = zip(first.queries.tokens, first.queries.turn, first.queries.right, strict=True)
                for (index, at), turn, right in queries:
                    question, number, trajectory = owners[index]
                    tokens = np.array([token for action in trajectory.actions for token in action.tokens])
                    for row in at:
                        values = [float(numbers[index][row]) for numbers in (first.plain, *columns.values())]
                        place = (question, number, turn, row, tokens[row], bool(right), trajectory.reward)
                        out.writerow([*place, *("" if isnan(value) else value for value in values)])

        replace(path, write)

"""What was found of a run: true advantages, credits, scores; `fidelity.md`, and `fidelity.json` with each turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sdsearch.core.statistics import Estimate
from sdsearch.core.statistics import mean as interval
from sdsearch.core.trajectory import Group, kept
from sdsearch.errors import DataError
from sdsearch.fidelity.advantages import LEVEL, TrueAdvantages
from sdsearch.fidelity.scores import Scores, Turns, by_within, scores
from sdsearch.runs.folder import replace

COVERAGE = """\
simulated on the known problem they hold the truth in 92 to 96 % of sets of 24 questions (sign: 91 to 94 %), and of sets
of 8, by credit and figure, in 75 to 97 %"""
"""By `python benchmarks/coverage.py`."""
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
        lines += ["", READING.format(intervals=f"In brackets: {LEVEL:.0%} t intervals over {self.over}.")]
        if self.skipped:
            lines += ["", "Not judged:", "", *(f"- {name}: {why}" for name, why in self.skipped.items())]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `fidelity.md` into a folder and return it."""
        path = folder / "fidelity.md"
        replace(path, lambda file: file.write_text(self.markdown()))
        return path


def cells(name: str, figures: Scores) -> list[str]:
    """Return the row of a credit."""
    return [
        name,
        *map(str, (figures.within, figures.queries, figures.pooled, figures.sign, figures.idle)),
        f"{figures.credited:.0%}",
    ]


def ceiling(*ranks: Estimate) -> list[str]:
    """Return the row of what a perfect credit would get: intervals know of the noise, so that ranks alone have it."""
    return [CEILING, *map(str, ranks), "", "", ""]


@dataclass(frozen=True)
class Result:
    """The true advantages of some turns, what credits made of them, and how these scored."""

    about: Mapping[str, str | int | float]
    """Where the turns come from and what it took, for readers."""
    groups: Sequence[Group]
    truth: Sequence[TrueAdvantages]
    """Of each kept trajectory."""
    credits: Mapping[str, Sequence[NDArray[np.float64]]]
    """By name: an array for each kept trajectory, one number for each turn."""
    skipped: Mapping[str, str]

    @cached_property
    def turns(self) -> Turns:
        """The judged turns."""
        return self.side_by_side(self.truth)

    def side_by_side(self, truth: Sequence[TrueAdvantages]) -> Turns:
        """Return the turns with these advantages."""
        search = [[turn.kind == "search" for turn in t.turns] for t in kept(self.groups)]
        return Turns.of(truth, [i for i, g in enumerate(self.groups) for _ in g.kept], search)

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The scores by name, the best correlation within trajectories first."""
        return by_within({name: scores(numbers, self.turns) for name, numbers in self.credits.items()})

    @cached_property
    def ceiling(self) -> tuple[Estimate, Estimate, Estimate]:
        """What a perfect credit would get in the three correlations, for the advantages are estimates themselves.

        r, how one half of the continuations ranks the other half's advantages, is the reliability of a half; that of
        all is 2 r / (1 + r) (Spearman, Brown, 1910), and what is perfect correlates with it by the square root. That
        is a law for linear correlations of many turns: here it is an approximation.
        """
        turns = self.side_by_side([a._replace(value=a.halves[0]) for a in self.truth])
        halves = scores([a.halves[1] for a in self.truth], turns)
        return reachable(halves.within), reachable(halves.queries), reachable(halves.pooled)

    def figures(self) -> dict[str, str | int | float]:
        """Return what the table needs to be read."""
        turns = self.turns
        certain = turns.value[turns.certain & turns.known]
        return {
            **self.about,
            "trajectories": len(self.truth),
            "turns": int(turns.known.sum()),
            "turns that cannot be told from idle ones": f"{turns.idle:.0%}",
            "turns that certainly helped, of those that can": f"{(certain > 0).mean():.0%}" if len(certain) else "-",
        }

    @property
    def noisy(self) -> bool:
        """Whether the advantages are estimates."""
        return any(np.any(a.error > 0) for a in self.truth)

    def report(self) -> Report:
        """Return the table."""
        rows = [cells(*row) for row in self.scores.items()]
        best = [ceiling(*self.ceiling)] if self.noisy else []
        return Report(self.figures(), [*rows, *best], self.skipped, f"questions; {COVERAGE}")

    def record(self) -> dict[str, Any]:
        """Return everything, each turn included, for JSON; what there is no number for is NaN."""
        figures = {
            n: {f: v._asdict() if isinstance(v, Estimate) else v for f, v in s._asdict().items()}
            for n, s in self.scores.items()
        }
        owners = [(i, j) for i, g in enumerate(self.groups) for j, t in enumerate(g.trajectories) if not t.lost]
        turns = [
            {
                "question": t.question.id,
                "trajectory": list(owner),
                "turn": n,
                "kind": did.kind,
                **{name: float(getattr(truth, name)[n]) for name in ("value", "error", "low", "high")},
                "credits": {name: float(numbers[i][n]) for name, numbers in self.credits.items()},
            }
            for i, (owner, t, truth) in enumerate(zip(owners, kept(self.groups), self.truth, strict=True))
            for n, did in enumerate(t.turns)
        ]
        return {"about": self.figures(), "scores": figures, "skipped": dict(self.skipped), "turns": turns}

    def write(self, folder: Path) -> Path:
        """Write `fidelity.md` and `fidelity.json` into a folder and return the first."""
        text = to_json(self.record(), indent=1, inf_nan_mode="null")  # what there is no number for is null
        replace(folder / "fidelity.json", lambda path: path.write_bytes(text))
        return self.report().write(folder)


def reachable(half: Estimate) -> Estimate:
    """Return the correlation of the truth with all continuations, from that of one half of them with the other."""

    def of(r: float | None) -> float | None:
        return r if r is None or math.isnan(r) else math.sqrt(2 * max(0.0, r) / (1 + max(0.0, r)))

    return half._replace(value=float(of(half.value) or 0.0), low=of(half.low), high=of(half.high))


COUNTS = ("questions", "continuations", "trajectories", "turns")


def several(results: Sequence[Result]) -> Report:
    """Return the table of several runs; a credit that was not judged in each of them is left out.

    One run's interval tells what other questions would have changed, not what another training would have. Each run is
    asked questions of its own, so that the spread over runs has both.

    Raises `DataError` when no credit was judged in all of them.
    """
    names = [name for name in results[0].scores if all(name in one.scores for one in results)]
    if not names:
        raise DataError("no credit was judged in every run: there is nothing to compare")
    skipped = {name: "it was not judged in every run" for one in results for name in one.scores if name not in names}
    skipped |= {name: why for one in results for name, why in one.skipped.items()}
    rows = by_within({name: averaged([one.scores[name] for one in results]) for name in names})
    best = [ceiling(*map(mean, zip(*(one.ceiling for one in results), strict=True)))]
    figures = [one.figures() for one in results]
    about = {key: together(key, [one[key] for one in figures]) for key in figures[0]}
    over = f"the {len(results)} runs, each with questions of its own; with few of them they are wide"
    return Report(about, [*(cells(*row) for row in rows.items()), *best], skipped, over)


def averaged(rows: Sequence[Scores]) -> Scores:
    """Return the scores of a credit, given those in each run."""
    *figures, credited = zip(*rows, strict=True)
    within, queries, pooled, sign, idle = map(mean, figures)
    return Scores(within, queries, pooled, sign, idle, float(np.mean(credited)))


def mean(values: Sequence[Estimate]) -> Estimate:
    """Return the mean of what several runs have, and its interval over them; a run without a number does not count."""
    there = [one.value for one in values if not math.isnan(one.value)]
    return interval(there)


def together(key: str, values: Sequence[str | int | float]) -> str | int | float:
    """Return a figure of several runs: counts are added, what is the same is said once."""
    if key in COUNTS:
        return sum(int(value) for value in values)
    return values[0] if len(set(values)) == 1 else ", ".join(map(str, values))

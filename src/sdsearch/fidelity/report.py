"""What was found, written down: a table for the terminal, `fidelity.md` for readers, `fidelity.json` for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sdsearch.crediting.returns import kept
from sdsearch.fidelity.advantages import LEVEL, Advantages
from sdsearch.fidelity.judge import Scores, Turns, scores
from sdsearch.store.run import replace
from sdsearch.study.bootstrap import Estimate
from sdsearch.trajectory import Group

COLUMNS = ("within", "pooled", "sign", "on idle turns", "credited")
CEILING = "(a perfect credit, against these estimates)"
READING = f"""\
Each row is a credit, compared with the advantages of the same turns. *within*: Spearman's correlation over the turns of
a trajectory, its mean over trajectories; a credit that is the same for all turns has 0. *pooled*: the same over all
turns. *sign*: the share of the turns whose advantage is certainly not 0 that the credit gives the right sign. *on idle
turns*: the share of all credit that lies on turns which cannot be told from turns that did not matter. *credited*: the
share of turns with any credit; the others are left out of the row. In brackets: {LEVEL:.0%} bootstrap intervals over
questions. How to read it, and what it cannot tell: docs/fidelity.md."""


@dataclass(frozen=True)
class Judgement:
    """The true advantages of some turns, what credits made of them, and how these scored."""

    about: Mapping[str, str | int | float]
    """Where the turns come from and what it took, for readers."""
    groups: Sequence[Group]
    truth: Sequence[Advantages]
    """Of each kept trajectory."""
    credits: Mapping[str, Sequence[NDArray[np.float64]]]
    """By name: an array for each kept trajectory, one number for each turn."""
    skipped: Mapping[str, str]

    @cached_property
    def turns(self) -> Turns:
        """The judged turns."""
        return Turns.of(self.truth, [i for i, g in enumerate(self.groups) for _ in g.kept])

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The scores by name, the best correlation within trajectories first."""
        found = {name: scores(own, self.turns) for name, own in self.credits.items()}
        return dict(sorted(found.items(), key=lambda item: -np.nan_to_num(item[1].within.value, nan=-2.0)))

    @cached_property
    def ceiling(self) -> tuple[Estimate, Estimate]:
        """What a perfect credit would get within trajectories and pooled, for the advantages are estimates themselves.

        r, how one half of the continuations ranks the other half's advantages, is the reliability of a half; that of
        all is 2 r / (1 + r) (Spearman, Brown, 1910), and what is perfect correlates with it by the square root. That
        is a law for linear correlations of many turns: here it is an approximation.
        """
        truth = [a._replace(value=a.halves[0]) for a in self.truth]
        turns = Turns.of(truth, [i for i, g in enumerate(self.groups) for _ in g.kept])
        halves = scores([a.halves[1] for a in self.truth], turns)
        return reachable(halves.within), reachable(halves.pooled)

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

    def rows(self) -> list[list[str]]:
        """Return the cells of the table."""
        rows = [
            [name, *map(shown, (s.within, s.pooled, s.sign, s.idle)), f"{s.credited:.0%}"]
            for name, s in self.scores.items()
        ]
        # The intervals that `sign` and `idle` go by know both halves: only ranks can be compared.
        noisy = any(np.any(a.error > 0) for a in self.truth)
        return [*rows, *([[CEILING, *map(shown, self.ceiling), "", "", ""]] if noisy else [])]

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table("credit", title="credit against true advantages")
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for row in self.rows():
            table.add_row(*row)
        console.print(table)
        for name, value in self.figures().items():
            console.print(f"{name}: {value}", highlight=False, markup=False)
        for name, why in self.skipped.items():
            console.print(f"not judged: {name}: {why}", highlight=False, markup=False)

    def markdown(self) -> str:
        """Return the report for readers."""
        head = ("credit", *COLUMNS)
        lines = ["# Is the credit right?", "", *(f"- {name}: {value}" for name, value in self.figures().items()), ""]
        lines += [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *self.rows())]
        lines += ["", READING]
        if self.skipped:
            lines += ["", "Not judged:", "", *(f"- {name}: {why}" for name, why in self.skipped.items())]
        return "\n".join(lines) + "\n"

    def record(self) -> dict[str, Any]:
        """Return everything, each turn included, as plain JSON; what there is no number for is null."""
        found = {
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
                "credits": {name: float(own[i][n]) for name, own in self.credits.items()},
            }
            for i, (owner, t, truth) in enumerate(zip(owners, kept(self.groups), self.truth, strict=True))
            for n, did in enumerate(t.turns)
        ]
        told = {"about": self.figures(), "scores": found, "skipped": dict(self.skipped), "turns": turns}
        plain: dict[str, Any] = _plain(told)
        return plain

    def write(self, folder: Path) -> Path:
        """Write `fidelity.md` and `fidelity.json` into a folder and return the first."""
        replace(folder / "fidelity.json", lambda path: path.write_text(json.dumps(self.record(), indent=1)))
        replace(folder / "fidelity.md", lambda path: path.write_text(self.markdown()))
        return folder / "fidelity.md"


def reachable(half: Estimate) -> Estimate:
    """Return the correlation of the truth with all continuations, from that of one half of them with the other."""

    def of(r: float | None) -> float | None:
        return r if r is None or math.isnan(r) else math.sqrt(2 * max(0.0, r) / (1 + max(0.0, r)))

    return half._replace(value=float(of(half.value) or 0.0), low=of(half.low), high=of(half.high))


def shown(value: Estimate) -> str:
    """Return an estimate as text, with its interval if it has one."""
    if math.isnan(value.value):
        return "-"
    ends = "" if value.low is None else f" [{value.low:.2f}, {value.high:.2f}]"
    return f"{value.value:.2f}{ends}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value

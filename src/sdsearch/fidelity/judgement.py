"""What was found of a run: true advantages, credits, scores; `fidelity.md`, and `fidelity.json` with each turn."""

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

from sdsearch.crediting.returns import kept
from sdsearch.fidelity.advantages import Advantages
from sdsearch.fidelity.report import Report, ceiling, cells
from sdsearch.fidelity.scores import Scores, Turns, by_within, scores
from sdsearch.store.run import replace
from sdsearch.study.bootstrap import Estimate
from sdsearch.trajectory import Group


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
        return self.side_by_side(self.truth)

    def side_by_side(self, truth: Sequence[Advantages]) -> Turns:
        """Return the turns with these advantages."""
        search = [[turn.kind == "search" for turn in t.turns] for t in kept(self.groups)]
        return Turns.of(truth, [i for i, g in enumerate(self.groups) for _ in g.kept], search)

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The scores by name, the best correlation within trajectories first."""
        return by_within({name: scores(own, self.turns) for name, own in self.credits.items()})

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
        return Report(
            self.figures(), [*rows, *([ceiling(*self.ceiling)] if self.noisy else [])], self.skipped, "questions"
        )

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
        return self.report().write(folder)


def reachable(half: Estimate) -> Estimate:
    """Return the correlation of the truth with all continuations, from that of one half of them with the other."""

    def of(r: float | None) -> float | None:
        return r if r is None or math.isnan(r) else math.sqrt(2 * max(0.0, r) / (1 + max(0.0, r)))

    return half._replace(value=float(of(half.value) or 0.0), low=of(half.low), high=of(half.high))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value

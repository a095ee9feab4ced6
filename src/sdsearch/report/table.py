"""What a run learned, as two tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from sdsearch.monitoring.labels import ends
from sdsearch.rollout.evaluate import FIGURES, as_text, whole

LABELS = {
    "exact_match": "exact match",
    "f1": "F1",
    "searches": "searches per question",
    "gold_recall": "recall of gold passages",
    "invalid": "invalid rate",
    "no_answer": "no-answer rate",
}
PARTS = ("generate", "retrieve", "credit", "score", "train")


class Outcome(NamedTuple):
    """Held-out figures before training, after each phase, and after it."""

    when: tuple[str, ...]
    """What the columns are."""
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    """A figure and its value in each column."""


def outcome(metrics: Sequence[Mapping[str, Any]]) -> Outcome | None:
    """Return the held-out figures of the lines of metrics.jsonl; None where nothing was evaluated."""
    evaluations = {m["step"]: m["evaluate"] for m in metrics if "evaluate" in m}
    if not evaluations:
        return None
    when = {"before": min(evaluations)}
    when |= {f"phase {phase}": step for phase, step in phase_ends(metrics) if step in evaluations}
    when = when if len(when) > 1 else when | {"after": max(evaluations)}
    first = whole(evaluations[when["before"]])
    names = [f for f in FIGURES if f in first] or list(first)
    columns = [evaluations[step] for step in when.values()]
    rows = ((LABELS.get(f, f), tuple(column.get(f, nan) for column in columns)) for f in names)
    return Outcome(tuple(when), tuple(rows))


def phase_ends(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return each phase with its last step so far; nothing for a run without phases."""
    return sorted({m["phase"]: m["step"] for m in metrics if "phase" in m}.items())


def split(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return seconds per training step by part, and the rest."""
    steps = [m.get("seconds", {}) for m in metrics if "train" in m]
    if not steps:
        return {}
    mean = {p: sum(s.get(p, 0.0) for s in steps) / len(steps) for p in (*PARTS, "step")}
    return {**{p: mean[p] for p in PARTS}, "other": mean["step"] - sum(mean[p] for p in PARTS)}


def show(metrics: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print both tables, or nothing when nothing was recorded."""
    if not metrics:
        return
    if held_out := outcome(metrics):
        table = Table(title="held-out questions")
        for name in ("", *held_out.when, "change"):
            table.add_column(name, justify="left" if not name else "right")
        for name, values in held_out.rows:
            table.add_row(name, *map(as_text, values), as_text(values[-1] - values[0], "{:+.3f}"))
        console.print(table)
    if effects := ends(metrics):
        labels = Table(title="does the teacher read its hint? label effect, nats a query")
        for name in ("", "first third", "last third", "groups"):
            labels.add_column(name, justify="left" if not name else "right")
        for name, (before, after, count) in effects.items():
            labels.add_row(name, str(before), str(after), str(count))
        console.print(labels)
    parts = split(metrics)
    total = sum(parts.values())
    times = Table(title="seconds per training step")
    for name in ("part", "seconds", "share"):
        times.add_column(name, justify="left" if name == "part" else "right")
    for name, seconds in parts.items():
        times.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}" if total else "-")
    console.print(times)

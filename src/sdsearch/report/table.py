"""What a run learned, as two tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sdsearch.rollout.evaluate import FIGURES

LABELS = {
    "exact_match": "exact match",
    "f1": "F1",
    "searches": "searches per question",
    "gold_recall": "recall of gold passages",
    "invalid": "invalid rate",
}
PARTS = ("generate", "retrieve", "credit", "score", "train")


def outcome(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (figure, before, after) for the first and the last evaluation in metrics.jsonl."""
    evaluations = [m["evaluate"] for m in metrics if "evaluate" in m]
    return [(LABELS[f], evaluations[0][f], evaluations[-1][f]) for f in FIGURES] if evaluations else []


def split(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return seconds per training step by part, and the rest."""
    steps = [m["seconds"] for m in metrics if "train" in m]
    if not steps:
        return {}
    mean = {p: sum(s.get(p, 0.0) for s in steps) / len(steps) for p in (*PARTS, "step")}
    return {**{p: mean[p] for p in PARTS}, "other": mean["step"] - sum(mean[p] for p in PARTS)}


def show(metrics: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print both tables, or nothing when nothing was recorded."""
    if not metrics:
        return
    table = Table(title="held-out questions")
    for name in ("", "before", "after", "change"):
        table.add_column(name, justify="left" if not name else "right")
    for name, before, after in outcome(metrics):
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    console.print(table)
    parts = split(metrics)
    total = sum(parts.values())
    times = Table(title="seconds per training step")
    for name in ("part", "seconds", "share"):
        times.add_column(name, justify="left" if name == "part" else "right")
    for name, seconds in parts.items():
        times.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}")
    console.print(times)

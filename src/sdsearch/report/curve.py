"""The learning curve of a run, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def curve(metrics: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw reward per step and held-out exact match into a PNG. `metrics` are the lines of metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trained = [(m["step"], m["train"]["reward"]) for m in metrics if "train" in m]
    judged = [(m["step"], m["evaluate"]["exact_match"]) for m in metrics if "evaluate" in m]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if trained:
        axes.plot(*zip(*trained, strict=True), color="#9aa7b1", linewidth=1, label="training reward")
    if judged:
        axes.plot(*zip(*judged, strict=True), color="#c2452d", marker="o", label="exact match, held-out questions")
    axes.set(xlabel="step", ylabel="mean over episodes", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    if trained or judged:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)

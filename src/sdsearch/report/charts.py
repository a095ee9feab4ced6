"""The figures of a run as line charts: SVG in a page, in the page's own text colour, and its learning curve as PNG."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from sdsearch.report.fonts import any_script
from sdsearch.report.table import phase_ends
from sdsearch.rollout.evaluate import headline

POINTS = 400
"""Most points of a line: a long run is thinned evenly, its last step stays."""
COLOURS = ("#c2452d", "#2f7fb8", "#4a9a5b", "#b5852a", "#8a63b5", "#2a9d98", "#c06a9a", "#7d8791")
INK = "#010203"
"""Stands for the page's text colour until the picture is drawn."""

Line = list[tuple[int, float]]


class Label(NamedTuple):
    """A line of a chart: its name, its colour and its last value."""

    name: str
    colour: str
    last: float


class Chart(NamedTuple):
    """One picture and what its lines are."""

    title: str
    svg: str
    labels: tuple[Label, ...]


FAMILIES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("held-out questions", lambda n: n in ("evaluate/exact_match", "evaluate/f1")),
    ("training episodes", lambda n: n in ("train/reward", "train/exact_match", "train/f1", "train/gold_recall")),
    ("loss", lambda n: n == "train/loss" or (n.startswith("train/") and n.endswith("/loss"))),
    ("gradient norm", lambda n: n == "train/gradient_norm" or n.startswith("train/grad_norm/")),
    ("gradient norm over that of the policy gradient", lambda n: n.startswith("train/grad_ratio/")),
    ("seconds per training step", lambda n: n.startswith("seconds/")),
    ("entropy, nats", lambda n: n.startswith("train/") and "entropy" in n),
    ("drift", lambda n: n.startswith(("train/drift", "train/stale_m")) or n.endswith("/log_ratio")),
    ("searches per question", lambda n: n in ("evaluate/searches", "train/searches")),
)


def lines(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """Return what the lines of metrics.jsonl have for each figure, by "train/<name>", "evaluate/<name>" and so on.

    The seconds and the retrieval of evaluations are left out: they would stand among those of training steps. What is
    no number is left out, and what is not finite is a gap.
    """
    figures: defaultdict[str, Line] = defaultdict(list)
    for record in metrics:
        for part in ("evaluate",) if "evaluate" in record else ("train", "seconds", "retrieval"):
            for name, value in dict(record.get(part) or {}).items():
                if isinstance(value, int | float):
                    figures[f"{part}/{name}"].append((record["step"], value if isfinite(value) else nan))
    return dict(figures)


def charts(metrics: Sequence[Mapping[str, Any]]) -> tuple[list[Chart], list[Chart]]:
    """Return a chart for each family of figures that the run has, and one for each figure of none."""
    rest, ends = lines(metrics), [step for _, step in phase_ends(metrics)[:-1]]
    main = []
    for title, belongs in FAMILIES:
        if chosen := {n: rest.pop(n) for n in list(rest) if belongs(n)}:
            main.append(draw(title, chosen, ends))
    return main, [draw(name, {name: line}, ends, small=True) for name, line in sorted(rest.items())]


def draw(title: str, chosen: Mapping[str, Line], ends: Sequence[int] = (), small: bool = False) -> Chart:
    """Draw lines over steps, and where phases end; the names of the lines are left to the page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    labels = []
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 8 if small else 9}):
        figure = Figure(figsize=(3, 1.3) if small else (4.6, 2.3))
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_axes((0.17, 0.2, 0.8, 0.66) if small else (0.12, 0.13, 0.86, 0.78))
        axes.patch.set_alpha(0)
        for i, (name, line) in enumerate(chosen.items()):
            colour = COLOURS[i % len(COLOURS)]
            steps, values = zip(*thin(line), strict=True)
            few = sum(map(isfinite, values)) < 30
            axes.plot(steps, values, color=colour, linewidth=1.4, marker="o" if few else None, markersize=2.5)
            labels.append(Label(name.removeprefix("train/").removeprefix("seconds/"), colour, line[-1][1]))
        for end in ends:
            axes.axvline(end, color=INK, alpha=0.4, linewidth=0.8, linestyle=":")
        if title in ("held-out questions", "training episodes"):
            axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set(color=INK, alpha=0.3)
        axes.tick_params(color=INK, labelcolor=INK, length=2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3 if small else 5))
        axes.grid(color=INK, alpha=0.1, linewidth=0.6)
        out = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.print_svg(out, metadata=metadata)  # type: ignore[no-untyped-call]
    svg = out.getvalue()
    return Chart(title, svg[svg.index("<svg") :].replace(INK, "currentColor"), tuple(labels))


def thin(line: Line) -> Line:
    """Return at most `POINTS` points of a line, evenly from its end."""
    every = -(-len(line) // POINTS)
    return line[::-1][::every][::-1]


@any_script()
def learning_curve(metrics: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw reward per step and held-out exact match into a PNG. `metrics` are the lines of metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trained = [(m["step"], m["train"]["reward"]) for m in metrics if "train" in m]
    evaluations = [(m["step"], m["evaluate"]) for m in metrics if "evaluate" in m]
    held_out = headline(evaluations[0][1]) if evaluations else ""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if trained:
        axes.plot(*zip(*trained, strict=True), color="#9aa7b1", linewidth=1, label="training reward")
    if evaluations:
        points = [(step, figures.get(held_out, nan)) for step, figures in evaluations]
        label = f"{held_out.replace('_', ' ')}, held-out questions"
        axes.plot(*zip(*points, strict=True), color="#c2452d", marker="o", label=label)
    axes.set(xlabel="step", ylabel="mean over episodes", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    if trained or evaluations:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)

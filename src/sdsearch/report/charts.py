"""The figures of a run as line charts, which a page draws in its own colours, and its learning curve as PNG."""

from __future__ import annotations

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
DOTS = 30
"""Below so many points each of a line is marked."""

FAR = 1e300
"""What is drawn farther out than this would overflow."""

Line = list[tuple[int, float]]


class Drawn(NamedTuple):
    """A line of a chart: its name, its colour, its last value, and its paths in SVG; `dots` is empty for a long one."""

    name: str
    colour: str
    last: float
    path: str
    dots: str


class Mark(NamedTuple):
    """Where an axis is marked, in the picture's units, and with what."""

    at: float
    text: str


class Chart(NamedTuple):
    """One picture: its lines between `left`, `top`, `right` and `bottom`, the marks of its axes, where phases end."""

    title: str
    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    lines: tuple[Drawn, ...]
    across: tuple[Mark, ...]
    up: tuple[Mark, ...]
    ends: tuple[float, ...]


FAMILIES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("held-out questions", lambda n: n in ("evaluate/exact_match", "evaluate/f1")),
    ("held-out questions by source", lambda n: n.startswith(("evaluate/exact_match/", "evaluate/reward/"))),
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
    """Draw lines over steps, and where phases end.

    A drawing library would take ten milliseconds a picture, for dozens of them whenever a page is written; it is asked
    where to put the marks, which is the hard part.
    """
    width, height, left, top, right, bottom = (216, 94, 36, 8, 210, 76) if small else (330, 170, 40, 8, 324, 150)
    shown = {name: thin(line) for name, line in chosen.items()}
    values = [min(max(v, -FAR), FAR) for line in shown.values() for _, v in line if isfinite(v)]
    steps = [step for line in shown.values() for step, _ in line]
    fixed = title in ("held-out questions", "training episodes") and all(0 <= v <= 1 for v in values)
    low, high = (0.0, 1.0) if fixed or not values else around(min(values), max(values))
    first, last = (min(steps), max(steps)) if len(set(steps)) > 1 else (steps[0] - 0.5, steps[0] + 0.5)

    def x(step: float) -> float:
        return round(left + (right - left) * (step - first) / (last - first), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (min(max(value, low), high) - low) / (high - low), 1)

    def drawn(i: int, name: str) -> Drawn:
        line, colour = shown[name], COLOURS[i % len(COLOURS)]
        seen = [(x(step), y(v)) if isfinite(v) else None for step, v in line]
        path = " ".join(
            f"{'L' if i and seen[i - 1] else 'M'}{point[0]:g} {point[1]:g}" for i, point in enumerate(seen) if point
        )
        few = sum(map(bool, seen)) < DOTS
        dots = " ".join(f"M{point[0]:g} {point[1]:g}h0" for point in seen if point) if few else ""
        return Drawn(name.removeprefix("train/").removeprefix("seconds/"), colour, line[-1][1], path, dots)

    return Chart(
        *(title, width, height, left, top, right, bottom),
        tuple(drawn(i, name) for i, name in enumerate(shown)),
        tuple(Mark(x(at), text) for at, text in marks(first, last, 6, whole=True)),
        tuple(Mark(y(at), text) for at, text in marks(low, high, 3 if small else 5)),
        tuple(x(end) for end in ends if first <= end <= last),
    )


def around(low: float, high: float) -> tuple[float, float]:
    """Return a range a little wider than the one from `low` to `high`, also when that is a point."""
    margin = (high / 20 - low / 20) or abs(high) / 20 or 0.5
    return max(low - margin, -FAR), min(high + margin, FAR)


def marks(low: float, high: float, most: int, whole: bool = False) -> list[tuple[float, str]]:
    """Return about `most` round numbers from `low` to `high`, and each as text, with as many digits as it takes."""
    from matplotlib.ticker import MaxNLocator

    found = [float(v) for v in MaxNLocator(nbins=most, integer=whole).tick_values(low, high) if low <= v <= high]
    found = [v for v in found if v.is_integer() or not whole] or [low / 2 + high / 2]
    near, far = (high - low) / 1000, max(abs(low), abs(high))
    for digits in range(6 if 1000 <= far < 1e6 else 3, 17):
        texts = [f"{0.0 if abs(v) < near else v:.{digits}g}" for v in found]
        if all(abs(float(text) - v) < near for text, v in zip(texts, found, strict=True)):
            break
    return list(zip(found, texts, strict=True))


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

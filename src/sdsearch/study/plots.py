"""Pictures of a study: learning curves against each thing that a run can spend, and where the arms ended.

An arm is drawn by its place in the study, so that it looks the same in every picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sdsearch.core.statistics import mean as interval
from sdsearch.study.comparison import Comparison
from sdsearch.study.spec import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


STYLES = ("-", "--", ":", "-.")
"""There are ten colours; the next ten arms have another line."""


class Look(NamedTuple):
    """Colour and line, as matplotlib names them."""

    colour: str
    line: str


def look(study: Study, arm: str) -> Look:
    """Return how an arm of a study is drawn."""
    place = list(study.arms).index(arm)
    return Look(f"C{place % 10}", STYLES[place // 10 % len(STYLES)])


QUANTITIES = ("steps", "rollouts", "tokens", "seconds")


def curves(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row for each point: arm, quantity, x, seeds, judged, exact_match, low, high.

    The points are those at which some seed was judged (`judged` of them), up to where the arm's shortest run ended; a
    seed that was judged elsewhere (tokens and seconds differ between seeds) is taken as linear in between.
    """
    rows = []
    for arm, seeds in comparison.arms.items():
        for quantity in QUANTITIES if seeds else ():
            lines = [record.line(quantity) for record in seeds.values()]
            end = min(x[-1] for x, _ in lines)
            grid = np.unique(np.concatenate([x[x <= end] for x, _ in lines]))
            values = np.array([np.interp(grid, x, y) for x, y in lines])
            for x, column in zip(grid, values.T, strict=True):
                mean, low, high = interval(column)
                count = sum(bool(np.any(points == x)) for points, _ in lines)
                about = {"arm": arm, "quantity": quantity, "x": float(x), "seeds": len(lines), "judged": count}
                rows.append({**about, "exact_match": mean, "low": low, "high": high})
    return rows


def draw(comparison: Comparison, rows: list[dict[str, Any]]) -> Figure:
    """Draw the curves, a panel for each quantity; the one that the budget is in comes first.

    A dot is a point at which every seed was judged: where there is none, the line is what lies in between.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for i, quantity in enumerate(sorted(QUANTITIES, key=lambda q: q != comparison.study.quantity), 1):
        axes = figure.add_subplot(2, 2, i)
        for arm in comparison.arms:
            mine = [row for row in rows if row["arm"] == arm and row["quantity"] == quantity]
            if not mine:
                continue
            x, y, low, high = (np.array([row[k] for row in mine], float) for k in ("x", "exact_match", "low", "high"))
            dots = [i for i, row in enumerate(mine) if row["judged"] == row["seeds"]]
            colour, dashes = look(comparison.study, arm)
            axes.plot(x, y, marker=".", markevery=dots, color=colour, ls=dashes, label=arm)
            axes.fill_between(x, low, high, color=colour, alpha=min(0.15, 0.6 / len(comparison.arms)), lw=0)
        matched = " (the budget)" * (quantity == comparison.study.quantity)
        axes.set(xlabel=f"{quantity}{matched}", ylabel="held-out exact match")
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(f"{comparison.study.name}: mean over seeds, 95 % t interval")
    return figure


def finals(comparison: Comparison) -> Figure:
    """Draw held-out exact match after the budget, and its mean over the budget; a dotted line is the reference's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = {arm: mean for arm in comparison.arms if (mean := comparison.mean(arm, lambda r: r.final))}
    order = sorted(means, key=lambda arm: -means[arm].value)
    figure = Figure(figsize=(10, 1.6 + 0.3 * len(order)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, said, of in zip(panels, ("at the end", "over the budget"), comparison.figures.values(), strict=True):
        for row, arm in enumerate(order):
            value, low, high = interval([of(record) for record in comparison.arms[arm].values()])
            colour = look(comparison.study, arm).colour
            seeds = np.array([of(record) for record in comparison.arms[arm].values()], float)
            axes.plot(seeds, np.full(len(seeds), row), "o", ms=4, mfc="none", color=colour, alpha=0.5)
            axes.plot(np.array([low, high], float), [row, row], color=colour, lw=2)
            axes.plot(value, row, "|", ms=14, mew=2.5, color=colour)
            if arm == comparison.study.reference:
                axes.axvline(value, color=colour, lw=0.8, ls=":")
        axes.grid(axis="x", alpha=0.3)
        axes.set(xlabel=f"held-out exact match {said}")
    panels[0].set_yticks(range(len(order)), order)
    panels[0].invert_yaxis()
    name = f"{comparison.study.name} (reference: {comparison.study.reference})"
    figure.suptitle(f"{name}: seeds, mean, 95 % t interval")
    return figure

"""Learning curves: the mean over seeds and its interval, against each thing that a run can spend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.study.bootstrap import estimate
from sdsearch.study.comparison import Comparison
from sdsearch.study.looks import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = ("steps", "rollouts", "tokens", "seconds")


def curves(found: Comparison) -> list[dict[str, Any]]:
    """Return a row for each point: arm, quantity, x, seeds, judged, exact_match, low, high.

    The points are those at which some seed was judged (`judged` of them), up to where the arm's shortest run ended; a
    seed that was judged elsewhere (tokens and seconds differ between seeds) is taken as linear in between.
    """
    rows = []
    for arm, seeds in found.arms.items():
        for quantity in QUANTITIES if seeds else ():
            lines = [record.line(quantity) for record in seeds.values()]
            end = min(x[-1] for x, _ in lines)
            grid = np.unique(np.concatenate([x[x <= end] for x, _ in lines]))
            values = np.array([np.interp(grid, x, y) for x, y in lines])
            for x, column in zip(grid, values.T, strict=True):
                mean, low, high = estimate(column)
                judged = sum(bool(np.any(own == x)) for own, _ in lines)
                about = {"arm": arm, "quantity": quantity, "x": float(x), "seeds": len(lines), "judged": judged}
                rows.append({**about, "exact_match": mean, "low": low, "high": high})
    return rows


def draw(found: Comparison, rows: list[dict[str, Any]]) -> Figure:
    """Draw the curves, a panel for each quantity; the one that the budget is in comes first.

    A dot is a point at which every seed was judged: where there is none, the line is what lies in between.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for i, quantity in enumerate(sorted(QUANTITIES, key=lambda q: q != found.study.quantity), 1):
        axes = figure.add_subplot(2, 2, i)
        for arm in found.arms:
            mine = [row for row in rows if row["arm"] == arm and row["quantity"] == quantity]
            if not mine:
                continue
            x, y, low, high = (np.array([row[k] for row in mine], float) for k in ("x", "exact_match", "low", "high"))
            dots = [i for i, row in enumerate(mine) if row["judged"] == row["seeds"]]
            colour, dashes = look(found.study, arm)
            axes.plot(x, y, marker=".", markevery=dots, color=colour, ls=dashes, label=arm)
            axes.fill_between(x, low, high, color=colour, alpha=min(0.15, 0.6 / len(found.arms)), lw=0)
        matched = " (the budget)" * (quantity == found.study.quantity)
        axes.set(xlabel=f"{quantity}{matched}", ylabel="held-out exact match")
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(f"{found.study.name}: mean over seeds, 95 % bootstrap interval")
    return figure

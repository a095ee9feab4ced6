"""One chart of where the arms ended: every seed a dot, their mean and its interval, the best arm on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.study.comparison import Comparison
from sdsearch.study.looks import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def finals(found: Comparison) -> Figure:
    """Draw held-out exact match after the budget; a dotted line runs down from the reference's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = {arm: mean for arm in found.arms if (mean := found.mean(arm, lambda r: r.final))}
    order = sorted(means, key=lambda arm: -means[arm].value)
    figure = Figure(figsize=(7, 1.4 + 0.3 * len(order)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, arm in enumerate(order):
        value, low, high = means[arm]
        colour = look(found.study, arm).colour
        seeds = np.array([record.final for record in found.arms[arm].values()], float)
        axes.plot(seeds, np.full(len(seeds), row), "o", ms=4, mfc="none", color=colour, alpha=0.5)
        axes.plot(np.array([low, high], float), [row, row], color=colour, lw=2)
        axes.plot(value, row, "|", ms=14, mew=2.5, color=colour)
        if arm == found.study.reference:
            axes.axvline(value, color=colour, lw=0.8, ls=":")
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        xlabel="held-out exact match at the end: seeds, mean, 95 % bootstrap interval",
        title=f"{found.study.name} (reference: {found.study.reference})",
    )
    return figure

"""Scores as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from sdsearch.core.statistics import Estimate
from sdsearch.evaluation.figures import LABELS, Figure, Score, Scores
from sdsearch.rollout.evaluate import as_text

WIDTH = 104
"""Columns that are used where there is no terminal to ask."""


def show(title: str, scores: Scores, console: Console) -> None:
    """Print the figures of a test set, one a line, or of several a set a line and their mean; then kinds and hops."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    if len(scores.sets) == 1:
        (one,) = scores.sets.values()
        console.print(single(f"{title}: {one.questions} questions", one))
    else:
        rows = {name: (str(score.questions), score.figures) for name, score in scores.sets.items()}
        rows["mean of sets"] = ("", scores.macro)
        console.print(wide(f"{title}: {scores.questions} questions", rows))
    parts: dict[str, tuple[str, Mapping[str, Figure]]] = {}
    for name in scores.sets:
        before = f"{name}, " if len(scores.sets) > 1 else ""
        kinds, hops = scores.kinds[name], scores.hops[name]
        each = {**kinds, **{f"{count} hop{'s' * (count != '1')}": score for count, score in hops.items()}}
        told = [*(kinds if len(kinds) > 1 else ()), *(list(each)[len(kinds) :] if len(hops) > 1 else ())]
        parts |= {f"{before}{word}": (str(each[word].questions), each[word].figures) for word in told}
    if parts:
        console.print(wide("by kind and hops", parts))
    if lost := sum(score.lost for score in scores.sets.values()):
        console.print(f"{lost} episodes were ended by an outage and are in no figure")


def single(title: str, score: Score) -> Table:
    """Return the table of one test set."""
    table = Table("figure", title=title, title_justify="left")
    for name in ("mean", "95 % interval", "n"):
        table.add_column(name, justify="right")
    for name, figure in dashed(score.figures).items():
        table.add_row(name, as_text(figure.estimate.value), ends(figure.estimate), str(figure.n))
    return table


def wide(title: str, rows: Mapping[str, tuple[str, Mapping[str, Figure]]]) -> Table:
    """Return a table with a line for each of some names: how many questions, and the figures, each over its interval.

    Of an environment with figures of its own the first ones are shown.
    """
    searches = any("exact_match" in figures for _, figures in rows.values())
    every = dict.fromkeys(name for _, figures in rows.values() for name in figures)
    shown = [*LABELS] if searches else list(every)[: len(LABELS)]
    table = Table("", title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("n", *(LABELS.get(name, name) for name in shown)):
        table.add_column(name, justify="right")
    for name, (count, figures) in rows.items():
        cells = [figures[figure].estimate if figure in figures else NONE for figure in shown]
        table.add_row(name, count, *(f"{as_text(e.value)}\n{ends(e, '..')}" for e in cells))
    return table


NONE = Estimate(float("nan"), None, None)


def dashed(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return figures, and a dash for each that an evaluation of searches has and these have not."""
    absent = [name for name in LABELS if "exact_match" in figures and name not in figures]
    return {**figures, **{name: Figure(NONE, 0) for name in absent}}


def ends(estimate: Estimate, between: str = " to ") -> str:
    """Return an interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 2 if max(abs(estimate.low), abs(estimate.high)) < 10 else 1
    return f"{estimate.low:.{digits}f}{between}{estimate.high:.{digits}f}" if estimate.low < estimate.high else ""

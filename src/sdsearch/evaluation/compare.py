"""Two evaluations of the same questions, question by question.

Agents find the same questions hard, so that the differences of their scores on each spread less than the scores do: the
interval of the mean difference is narrower than what two intervals side by side show, and it is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from sdsearch.core.question import Question
from sdsearch.core.statistics import Estimate, average, mean
from sdsearch.core.trajectory import Group
from sdsearch.errors import DataError
from sdsearch.evaluation.figures import LABELS, SINGLE, of_question
from sdsearch.evaluation.kept import episodes
from sdsearch.evaluation.table import WIDTH, ends
from sdsearch.rollout.evaluate import as_text

LESS = ("no_answer", "invalid", "repeated", "empty")
"""Figures of which less is better."""
NEITHER = ("searches", "model_tokens")
"""Figures of which neither more nor less is better: nobody wins."""


class Difference(NamedTuple):
    """A figure of the second evaluation against that of the first, over the questions that have it in both."""

    first: float
    second: float
    estimate: Estimate
    """The mean of second minus first, with a paired t interval."""
    n: int
    wins: int | None
    """Questions on which the second is better; None where neither more nor less is."""
    losses: int | None
    ties: int

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        value, low, high = self.estimate
        rest = {key: value for key, value in self._asdict().items() if key != "estimate"}
        return {**rest, "difference": value, "low": low, "high": high}


Differences = Mapping[str, Difference]


class Comparison(NamedTuple):
    """Two evaluations on the questions that are in both."""

    names: tuple[str, str]
    questions: int
    only: tuple[int, int]
    """Questions that are in the first alone, and in the second alone."""
    changed: int
    """Those among them that have the same id in both, but not the same text or answers."""
    outages: int
    """Questions in both that an outage ended in one: they are in no figure."""
    sets: dict[str, Differences]
    macro: Differences
    """Over all sets, each counted alike; wins, losses and ties are added up."""

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "questions": self.questions,
            "only_first": self.only[0],
            "only_second": self.only[1],
            "changed": self.changed,
            "outages": self.outages,
            "macro": {name: one.record() for name, one in self.macro.items()},
            "sets": {key: {name: one.record() for name, one in each.items()} for key, each in self.sets.items()},
        }

    def remarks(self) -> list[str]:
        """Say what was left out."""
        said = []
        if any(self.only):
            said.append(
                f"The questions differ: {self.questions} are in both and compared, {self.only[0]} are in the first "
                f"alone and {self.only[1]} in the second."
            )
        if self.changed:
            said.append(f"{self.changed} ids stand for a question with another text or other answers: left out.")
        if self.outages:
            said.append(f"An outage ended {self.outages} of the questions in one of both: left out.")
        return said

    def show(self, console: Console) -> None:
        """Print it."""
        if not console.is_terminal:
            console.width = max(console.width, WIDTH)
        several = len(self.sets) > 1
        say(console, f"first   {self.names[0]}\nsecond  {self.names[1]}")
        console.print(_table(f"{'mean of sets, ' if several else ''}{self.questions} questions", self.macro))
        for name in ("exact_match", "f1", "gold_recall") if several else ():
            if rows := {key: each[name] for key, each in self.sets.items() if name in each}:
                console.print(_table(LABELS[name], rows))
        for line in self.remarks():
            say(console, line)


def say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(title: str, rows: Differences) -> Table:
    table = Table("", title=title, title_justify="left")
    for name in ("first", "second", "difference", "95 % interval", "wins", "losses", "ties"):
        table.add_column(name, justify="right")
    for name, one in rows.items():
        counts = ("-" if count is None else str(count) for count in (one.wins, one.losses, one.ties))
        change = as_text(one.estimate.value, "{:+.3f}")
        cells = (as_text(one.first), as_text(one.second), change, ends(one.estimate))
        table.add_row(LABELS.get(name, name), *cells, *counts)
    return table


def compare(first: Path, second: Path) -> Comparison:
    """Compare the newest evaluations in two folders. Raises `DataError` when they have no question in common."""
    one, two = episodes(first)[1], episodes(second)[1]
    return paired(one, two, (str(first), str(second)))


def paired(first: Sequence[Group], second: Sequence[Group], names: tuple[str, str]) -> Comparison:
    """Compare two evaluations; a question is the same where id, text and answers are."""
    one, two = ({key(group.question): group for group in groups} for groups in (first, second))
    common = [k for k in one if k in two]
    only = len(one) - len(common), len(two) - len(common)
    changed = len({k[0] for k in one.keys() - two.keys()} & {k[0] for k in two.keys() - one.keys()})
    if not common:
        shown = f", though {changed} ids are: they stand for other texts or answers" if changed else ""
        raise DataError(
            f"{names[0]} has {len(one)} questions and {names[1]} {len(two)}, and none is in both{shown}; expected two "
            "evaluations of the same questions"
        )
    kept = [k for k in common if one[k].kept and two[k].kept]
    sets: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for k in kept:
        pair = of_question(one[k]), of_question(two[k])
        sets.setdefault(one[k].question.source or SINGLE, []).append(pair)
    each: dict[str, Differences] = {name: differences(pairs) for name, pairs in sets.items()}
    return Comparison(names, len(common), only, changed, len(common) - len(kept), each, together(each))


def key(question: Question) -> tuple[str, str, tuple[str, ...]]:
    """Return what makes two questions the same."""
    return question.id, question.text, question.answers


def differences(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> dict[str, Difference]:
    """Return the difference of every figure over some questions, each with its figures in both evaluations."""
    present = {name for one, two in pairs for name in one.keys() & two.keys()}
    names = [*(n for n in LABELS if n in present), *sorted(present - LABELS.keys())]
    return {name: difference(name, [(a[name], b[name]) for a, b in pairs if name in a and name in b]) for name in names}


def difference(name: str, pairs: Sequence[tuple[float, float]]) -> Difference:
    """Return the difference of one figure; `pairs` are its values in both, question by question."""
    gaps = [b - a for a, b in pairs]
    up, down = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    wins, losses = (None, None) if name in NEITHER else (down, up) if name in LESS else (up, down)
    first, second = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    return Difference(first, second, mean(gaps), len(pairs), wins, losses, len(gaps) - up - down)


def together(sets: Mapping[str, Differences]) -> dict[str, Difference]:
    """Return the mean over sets of each difference."""
    names = dict.fromkeys(name for each in sets.values() for name in each)
    return {name: _average([each[name] for each in sets.values() if name in each]) for name in names}


def _average(every: Sequence[Difference]) -> Difference:
    if len(every) == 1:
        return every[0]
    first, second = (sum(side) / len(every) for side in zip(*((d.first, d.second) for d in every), strict=True))
    decided = every[0].wins is not None
    wins, losses = (sum(getattr(d, side) or 0 for d in every) if decided else None for side in ("wins", "losses"))
    estimate = average([d.estimate for d in every])
    return Difference(first, second, estimate, sum(d.n for d in every), wins, losses, sum(d.ties for d in every))

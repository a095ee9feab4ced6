"""Is the gradient right that follows from a credit? On a problem whose exact policy gradient is known.

A credit can find the turns that mattered and still push the policy elsewhere, and the other way round: what centres
rewards and then adds them up makes each further turn cost their mean, wherever the policy itself decides when to stop.
The gradient of a group is that of REINFORCE by the logits of each state, sum over turns of credit * (1[action] - pi),
mean over rollouts. Optimisers take care of a credit's size, so all is told at one scale: that at which the mean
gradient has the exact one's length along it.

What is squared is freed of noise (the mean over pairs of different groups), so that a cosine does not fall because few
groups were played. Intervals are t intervals that leave out each group in turn. A credit that whitens over a step does
so over all groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sdsearch.core.statistics import Estimate, jackknife
from sdsearch.core.trajectory import Group, kept
from sdsearch.fidelity.known_problem import SearchProblem

Numbers = NDArray[np.float64]
RIGHT = 0.98
"""A cosine below it is one to explain."""
COLUMNS = ("cosine", "bias", "scale", "RMSE", "noise", "at equal cost")


class Validity(NamedTuple):
    """The figures of the gradient that follows from one credit; NaN where there is none."""

    cosine: Estimate
    """Of the mean gradient with the exact one."""
    bias: Estimate
    """|E g / scale - g*| / |g*|: what is wrong with the mean gradient at the best that a learning rate can do."""
    scale: Estimate
    """E g . g* / |g*|^2: 1 for a credit that is unbiased in units of the reward."""
    rmse: float
    """Of credit / scale with the true advantage over all turns, but for a constant; no credit counts as 0."""
    noise: float
    """The variance of the gradient of one group (the trace) at that scale, in units of |g*|^2."""
    cost: float
    """Episodes played for each rollout of the group, itself included."""

    @property
    def equal_cost(self) -> float:
        """The noise where every credit may play as many episodes, its continuations included."""
        return self.noise * self.cost

    @property
    def biased(self) -> bool:
        """Whether it is certain that the mean gradient points elsewhere."""
        return certain(self.bias)


def group_gradients(credit: Sequence[Numbers], groups: Sequence[Group], problem: SearchProblem) -> Numbers:
    """Return the gradient of each group by the logits of the policy, [groups, hops + 1, 4].

    `credit` has an array for each kept trajectory, one number for each turn; NaN, never credited, adds nothing.
    """
    attempts, states = kept(groups), problem.hops + 1
    turns = [len(t.turns) for t in attempts]
    owner = np.repeat(np.repeat(np.arange(len(groups)), [len(g.kept) for g in groups]), turns)
    state = np.array([h for t in attempts for h in problem.visited(t)[:-1]], np.int64)
    action = np.array([a.tokens[0] - 1 for t in attempts for a in t.actions], np.int64)
    weight = np.nan_to_num(np.concatenate([np.empty(0), *credit]))
    taken = np.bincount((owner * states + state) * 4 + action, weight, len(groups) * states * 4)
    taken = taken.reshape(len(groups), states, 4)
    gradients = taken - taken.sum(2, keepdims=True) * np.array(problem.policy)
    return np.asarray(gradients / np.array([max(1, len(g.kept)) for g in groups])[:, None, None], np.float64)


def validity(
    credit: Sequence[Numbers], groups: Sequence[Group], problem: SearchProblem, continuations: int = 0
) -> Validity:
    """Return the figures of a credit that played `continuations` beside the groups; see `group_gradients`."""
    attempts = kept(groups)
    gradients = group_gradients(credit, groups, problem).reshape(len(groups), -1)
    exact = problem.gradient.ravel()
    size = float(exact @ exact)
    n, total, along = len(gradients), gradients.sum(0), gradients @ exact / size
    squares = (gradients**2).sum(1)

    # The groups all together, then without each in turn: [1 + groups].
    count = np.append(n, np.full(n, n - 1))
    scales = np.append(along.sum(), along.sum() - along) / count
    whole = np.append(total @ total, ((total - gradients) ** 2).sum(1))
    parts = np.append(squares.sum(), squares.sum() - squares)
    lengths = (whole - parts) / (count * (count - 1)) / size  # |E g|^2 in units of |g*|^2
    scale, length = over_groups(scales), over_groups(lengths)
    cost = 1 + continuations / max(1, len(attempts))
    if not certain(length):  # there may be no mean gradient at all, so that it has no direction
        return Validity(NONE, NONE, scale, math.nan, math.nan, cost)
    cosine = cut(over_groups(scales / np.sqrt(np.maximum(lengths, 0.0))))
    if not certain(scale):  # nothing of it is certain to point the right way: no scale is the best
        return Validity(cosine, NONE, scale, math.nan, math.nan, cost)
    wrong = over_groups(lengths / scales**2 - 1)
    truth = np.concatenate([problem.advantages(t) for t in attempts])
    gap = np.nan_to_num(np.concatenate(list(credit))) / scale.value - truth
    noise = float(squares.sum() / (n - 1) - total @ total / (n * (n - 1))) / size / scale.value**2
    return Validity(cosine, Estimate(*(root(x) for x in wrong)), scale, float(gap.std()), noise, cost)


NONE = Estimate(math.nan, None, None)


def over_groups(values: Numbers) -> Estimate:
    """Return the first number, with an interval from the others: those without each group in turn."""
    return jackknife(float(values[0]), values[1:].tolist())


def certain(estimate: Estimate) -> bool:
    """Say whether an estimate is certainly above 0."""
    return estimate.low is not None and estimate.low > 0


def root(square: float | None) -> Any:
    """Return the root of what is not negative but for noise."""
    return None if square is None else math.sqrt(max(0.0, square))


def cut(cosine: Estimate) -> Estimate:
    """Cut a cosine and its interval at -1 and 1, beyond which noise can bring them."""
    return Estimate(*(x if x is None or math.isnan(x) else min(1.0, max(-1.0, x)) for x in cosine))  # type: ignore[arg-type]


READING = """\
cosine: of the mean gradient with the exact one. bias: |E g / scale - g*| / |g*|, what no learning rate mends. scale: of
the mean gradient along the exact one; 1 is in units of the reward. RMSE: of credit / scale with the true advantage, but
for a constant. noise: the variance of one group's gradient at that scale, in units of |g*|^2; at equal cost: times the
episodes that were played for each rollout. 95 % t intervals over groups. What they mean: docs/fidelity.md."""


class GradientReport(NamedTuple):
    """The validity of credits on one problem."""

    about: Mapping[str, str | int | float]
    rows: Mapping[str, Validity]
    """By name, the highest cosine first."""
    skipped: Mapping[str, str]
    """What was not judged, and why."""

    @classmethod
    def of(
        cls, about: Mapping[str, str | int | float], rows: Mapping[str, Validity], skipped: Mapping[str, str]
    ) -> GradientReport:
        """Put the rows in order."""
        order = sorted(rows.items(), key=lambda row: -np.nan_to_num(row[1].cosine.value, nan=-2.0))
        return cls(about, dict(order), skipped)

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=f"gradients on {self.about['problem']}", box=SIMPLE_HEAD, padding=0)
        table.add_column("credit", no_wrap=True)
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for name, figures in self.rows.items():
            table.add_row(name, *cells(figures))
        console.print(table)
        for name, value in self.about.items():
            console.print(f"{name}: {value}", highlight=False, markup=False)
        for name, why in self.skipped.items():
            console.print(f"not judged: {name}: {why}", highlight=False, markup=False)

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        rows = {
            name: {f: v._asdict() if isinstance(v, Estimate) else v for f, v in row._asdict().items()}
            | {"equal_cost": row.equal_cost, "biased": row.biased}
            for name, row in self.rows.items()
        }
        return {"about": dict(self.about), "gradients": rows, "skipped": dict(self.skipped)}


def cells(figures: Validity) -> list[str]:
    """Return the row of a credit: three digits, for what is 0.98 is not 1."""
    numbers = (figures.rmse, figures.noise, figures.equal_cost)
    return [
        *map(three, (figures.cosine, figures.bias, figures.scale)),
        *("-" if math.isnan(x) else f"{x:.2f}" for x in numbers),
    ]


def three(estimate: Estimate) -> str:
    """Return an estimate with three digits, and its interval if it has one; "-" where there is no number."""
    if math.isnan(estimate.value):
        return "-"
    ends = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{ends}"


def show(reports: Sequence[GradientReport], console: Console) -> None:
    """Print the tables, and how to read them."""
    for report in reports:
        report.show(console)
    console.print(READING, highlight=False, markup=False)

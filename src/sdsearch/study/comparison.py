"""The figures of a study: estimates over seeds for each arm, and differences between arms, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import permutations
from typing import NamedTuple

import numpy as np

from sdsearch.core.statistics import Estimate, estimate, holm, mean, p_value
from sdsearch.study.primary import Named, written
from sdsearch.study.record import Record
from sdsearch.study.spec import Job, Study

Figure = Callable[[Record], float]
NEVER = float("inf")


class Pair(NamedTuple):
    """How much better an arm is than another, on the seeds that both have."""

    arm: str
    other: str
    figure: str
    seeds: int
    difference: Estimate
    p: float
    """Of a paired t test, on its own; NaN with one seed."""


class Comparison:
    """The runs of a study that are done, by arm."""

    def __init__(self, study: Study, jobs: Sequence[Job], failed: Mapping[Job, str]) -> None:
        """Read what the runs have recorded; `failed` says of some what went wrong."""
        self.study, self.jobs, self.failed = study, jobs, failed
        self.every = {job: Record.of(job) for job in jobs}
        self.arms = {arm: {j.seed: r for j, r in self.every.items() if j.arm == arm and r.done} for arm in study.arms}

    @property
    def done(self) -> list[Record]:
        """The runs that are done."""
        return [record for seeds in self.arms.values() for record in seeds.values()]

    @cached_property
    def horizon(self) -> float:
        """How far areas reach: to the budget, or to where the shortest run ended before it."""
        ends = [getattr(record.spent, self.study.quantity) for record in self.done]
        return float(min([*self.study.budget.values(), *ends]))

    @property
    def figures(self) -> dict[str, Figure]:
        """What arms are compared by."""
        return {
            "exact_match": lambda record: record.final,
            "area": lambda record: record.area(self.study.quantity, self.horizon),
        }

    def mean(self, arm: str, figure: Figure) -> Estimate | None:
        """Return the mean of a figure over the seeds of an arm; None without any."""
        values = [figure(record) for record in self.arms[arm].values()]
        return mean(values) if values else None

    def reached(self, arm: str, target: float, quantity: str) -> Estimate | None:
        """Return the median over seeds of a quantity at which a target was first reached.

        A seed that never did counts as later than all others (infinite): it is censored, not left out.
        """
        points = [record.reached(target) for record in self.arms[arm].values()]
        values = [getattr(p, quantity) if p else NEVER for p in points]
        return estimate(values, np.median) if values else None

    def cost(self, arm: str) -> Estimate | None:
        """Return the seconds of a step in units of the reference's, paired by seed."""
        ours, theirs = self.arms[arm], self.arms[self.study.reference]
        both = [(pace(ours[s]), pace(theirs[s])) for s in ours if s in theirs]
        return mean([one / two for one, two in both]) if both else None

    def pair(self, arm: str, other: str, figure: str) -> Pair | None:
        """Return the mean difference between two arms, paired by seed; None when no seed has both."""
        ours, theirs, of = self.arms[arm], self.arms[other], self.figures[figure]
        differences = [of(ours[seed]) - of(theirs[seed]) for seed in ours if seed in theirs]
        if not differences:
            return None
        return Pair(arm, other, figure, len(differences), mean(differences), p_value(differences))

    def adjusted(self, figure: str) -> dict[str, float]:
        """Return for each arm the p of its difference to the reference, adjusted for their number (Holm).

        A primary contrast that was named beforehand, and is one of these, stands on its own: its p is what it is, and
        the others are adjusted for their own number.
        """
        pairs = [self.pair(arm, self.study.reference, figure) for arm in self.arms if arm != self.study.reference]
        ps = {pair.arm: pair.p for pair in pairs if pair and not math.isnan(pair.p)}
        named = self.primary
        own = named and named.beforehand and (named.minus, named.figure) == (self.study.reference, figure)
        alone = {named.arm: ps.pop(named.arm)} if named and own and named.arm in ps else {}
        return alone | dict(zip(ps, holm(list(ps.values())), strict=True))

    @cached_property
    def primary(self) -> Named | None:
        """The primary contrast, and when it was named; None without one, and before it is written down."""
        return written(self.study)

    def pairs(self) -> list[Pair]:
        """Return the differences between any two arms, both ways round."""
        pairs = (self.pair(*two, figure) for two in permutations(self.arms, 2) for figure in self.figures)
        return [pair for pair in pairs if pair]


def pace(record: Record) -> float:
    """Return the seconds of a training step."""
    return record.spent.seconds / record.steps

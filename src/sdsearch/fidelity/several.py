"""The same question of several runs: each credit's figures, their mean over runs, with an interval over these.

One run's interval tells what other questions would have changed, not what another training would have. Each run is
asked questions of its own, so that the spread over runs has both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sdsearch.errors import DataError
from sdsearch.fidelity.judgement import Judgement
from sdsearch.fidelity.report import Report, ceiling, cells
from sdsearch.fidelity.scores import Scores, by_within
from sdsearch.study.bootstrap import Estimate, estimate

COUNTS = ("questions", "continuations", "trajectories", "turns")


def several(found: Sequence[Judgement]) -> Report:
    """Return the table of several runs; a credit that was not judged in each of them is left out.

    Raises `DataError` when no credit was judged in all of them.
    """
    names = [name for name in found[0].scores if all(name in one.scores for one in found)]
    if not names:
        raise DataError("no credit was judged in every run: there is nothing to compare")
    skipped = {name: "it was not judged in every run" for one in found for name in one.scores if name not in names}
    skipped |= {name: why for one in found for name, why in one.skipped.items()}
    rows = by_within({name: averaged([one.scores[name] for one in found]) for name in names})
    best = [ceiling(*map(mean, zip(*(one.ceiling for one in found), strict=True)))]
    told = [one.figures() for one in found]
    about = {key: together(key, [own[key] for own in told]) for key in told[0]}
    over = f"the {len(found)} runs, each with questions of its own; with so few they are too narrow"
    return Report(about, [*(cells(*row) for row in rows.items()), *best], skipped, over)


def averaged(found: Sequence[Scores]) -> Scores:
    """Return the scores of a credit, given those in each run."""
    *figures, credited = zip(*found, strict=True)
    within, queries, pooled, sign, idle = map(mean, figures)
    return Scores(within, queries, pooled, sign, idle, float(np.mean(credited)))


def mean(values: Sequence[Estimate]) -> Estimate:
    """Return the mean of what several runs have, and its interval over them; a run without a number does not count."""
    there = [one.value for one in values if not math.isnan(one.value)]
    return estimate(there) if there else Estimate(math.nan, None, None)


def together(key: str, values: Sequence[str | int | float]) -> str | int | float:
    """Return a figure of several runs: counts are added, what is the same is said once."""
    if key in COUNTS:
        return sum(int(value) for value in values)
    return values[0] if len(set(values)) == 1 else ", ".join(map(str, values))

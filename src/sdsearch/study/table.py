"""What a study found, written down: `table.md` for readers, `results.csv` and `pairs.csv` for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdsearch.core.statistics import LEVEL, RESAMPLES, Estimate
from sdsearch.runs.folder import replace
from sdsearch.study.checklist import checklist
from sdsearch.study.comparison import Comparison
from sdsearch.study.record import Record

READING = f"""\
In brackets: {LEVEL:.0%} t intervals over seeds, differences paired by seed; an arm with one seed has none. They say how
figures vary with the seed of training, not how they would with other questions, data or models, and each stands on its
own. p: of a paired t test, adjusted for the {{count}} comparisons with {{reference}} (Holm), each figure by itself."""
TARGETS = f"""\
The median over seeds of the first evaluation that was as good, with a percentile bootstrap interval ({RESAMPLES:,}
resamples), which with few seeds reaches from the least to the greatest and covers 75 % with three of them, 94 % with
five. A seed that never was is censored: it counts as later than all others; where the median or an end of its interval
falls on such a seed, it is "not in" what the arm had."""


def document(comparison: Comparison) -> str:
    """Return table.md."""
    study = comparison.study
    (quantity, amount), reference = next(iter(study.budget.items())), study.reference
    lines = [
        f"# {study.name}",
        "",
        f"{len(comparison.done)} of {len(comparison.jobs)} runs are done. Each may cost {amount:,} {quantity}.",
    ]
    if short := [r.job.name for r in comparison.done if not r.met]:
        lines.append(f"**Not matched**: {', '.join(short)} ended at `train.steps`, short of the budget.")
    count = len(comparison.adjusted("exact_match"))
    lines += ["", "## Held-out exact match", "", *primary(comparison)]
    lines += [READING.format(count=count, reference=reference), ""]
    area = f"area to {comparison.horizon:,.0f} {quantity}" if comparison.done else "area"
    head = [
        "arm",
        "seeds",
        "final",
        area,
        f"final, minus {reference}",
        "p",
        f"area, minus {reference}",
        "p",
        "no answer",
    ]
    lines += grid(head, (results(comparison, arm) for arm in study.arms))
    lines += [
        "",
        "The area is the mean of exact match over the budget, linear between evaluations. No answer: the share of",
        "held-out episodes that ended without one, after the last step.",
        "",
    ]
    lines += ["## Spent", "", "Means over seeds; the last column with its interval, paired by seed.", ""]
    head = ["arm", "steps", "rollouts", "tokens", "seconds", f"seconds a step / {reference}"]
    lines += grid(head, (spent(comparison, arm) for arm in study.arms))
    if study.targets:
        lines += ["", "## When a target was first reached", "", TARGETS, ""]
        head = ["arm", "target", "seeds that reached it", "steps", "rollouts"]
        lines += grid(head, (target(comparison, arm, t) for arm in study.arms for t in study.targets))
    lines += ["", "## Failures", ""]
    lines += [
        f"- {job.name}: {reason.splitlines()[0]}\n\n{block(reason)}\n" for job, reason in comparison.failed.items()
    ]
    missing = [j.name for j, r in comparison.every.items() if not r.done and j not in comparison.failed]
    lines += [f"- not run, or not to its end: {', '.join(missing)}"] * bool(missing)
    lines += ["none"] * (not comparison.failed and not missing)
    lines += ["", "## Checklist", "", *(f"{i}. **{k}.** {v}" for i, (k, v) in enumerate(checklist(comparison), 1))]
    return "\n".join(lines) + "\n"


def results(comparison: Comparison, arm: str) -> list[str]:
    """Return the row of an arm in the first table."""
    means = [shown(comparison.mean(arm, figure), "{:.3f}") for figure in comparison.figures.values()]
    pairs = [comparison.pair(arm, comparison.study.reference, figure) for figure in comparison.figures]
    counts = f"{len(comparison.arms[arm])} of {len(comparison.study.seeds)}"
    silent = shown(comparison.mean(arm, lambda r: r.no_answer), "{:.3f}")
    if arm == comparison.study.reference:
        return [arm, counts, *means, *[""] * (2 * len(pairs)), silent]
    minus = [shown(pair and pair.difference, "{:+.3f}") for pair in pairs]
    ps = [chance(comparison.adjusted(figure).get(arm)) for figure in comparison.figures]
    return [arm, counts, *means, *(cell for both in zip(minus, ps, strict=True) for cell in both), silent]


def chance(p: float | None) -> str:
    """Return a p value as text."""
    return "-" if p is None or math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def primary(comparison: Comparison) -> list[str]:
    """Return what the study was made for, or that it was made for nothing in particular."""
    named, asked = comparison.primary, comparison.study.primary
    if named is None:
        return ["No primary contrast was named: every difference here is one of many.", ""]
    pair = (
        comparison.pair(named.arm, named.minus, named.figure)
        if {named.arm, named.minus} <= {*comparison.arms}
        else None
    )
    found = f"{shown(pair.difference, '{:+.3f}')}, p = {chance(pair.p)}" if pair else "not run yet"
    if asked is None:
        return [f"**The primary contrast that was named, {named}, is no longer in the study**: {found}.", ""]
    when = (
        "before the first run" if named.beforehand else f"**when {named.begun} runs had begun: take it as one of many**"
    )
    return [f"**Primary contrast** ({named}), named {when}: {found}.", ""]


def spent(comparison: Comparison, arm: str) -> list[str]:
    """Return what an arm has cost."""
    steps = comparison.mean(arm, lambda r: r.steps)
    costs = [comparison.mean(arm, lambda r, q=q: getattr(r.spent, q)) for q in ("rollouts", "tokens", "seconds")]  # type: ignore[misc]
    means = [f"{e.value:,.0f}" if e else "-" for e in (steps, *costs)]
    return [arm, *means, shown(comparison.cost(arm), "{:.2f}")]


def target(comparison: Comparison, arm: str, goal: float) -> list[str]:
    """Return when an arm reached a target."""
    records = comparison.arms[arm].values()
    count = sum(r.reached(goal) is not None for r in records)
    most = {
        "steps": max((r.steps for r in records), default=0),
        "rollouts": max((r.spent.rollouts for r in records), default=0),
    }
    texts = [shown(comparison.reached(arm, goal, q), "{:,.0f}", f"not in {m:,.0f}") for q, m in most.items()]
    return [arm, f"{goal:g}", f"{count} of {len(records)}", *texts]


def shown(value: Estimate | None, form: str, never: str = "never") -> str:
    """Return an estimate as text, with its interval if it has one."""
    if value is None or math.isnan(value.value):
        return "-"
    one, *ends = (never if x is None or math.isinf(x) else form.format(x) for x in value)
    return one if value.low is None else f"{one} [{ends[0]}, {ends[1]}]"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def block(text: str) -> str:
    """Return the rest of a text as preformatted lines."""
    return "\n".join(f"      {line}" for line in text.splitlines()[1:])


def runs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row for each run: its state, its figures, and when, or up to when not, it reached each target."""
    rows = []
    for job, record in comparison.every.items():
        state = "done" if record.done else "failed" if job in comparison.failed else "missing"
        row: dict[str, Any] = {"arm": job.arm, "seed": job.seed, "state": state, "steps": record.steps}
        row |= record.spent.record()
        if record.done:
            row |= {name: figure(record) for name, figure in comparison.figures.items()}
            row["no_answer"] = record.no_answer
            for goal in comparison.study.targets:
                row |= censored(record, goal)
        rows.append(row)
    return rows


def censored(record: Record, goal: float) -> dict[str, Any]:
    """Return whether a target was reached, and at which step and rollouts: the last ones where it was not."""
    point = record.reached(goal)
    at = point or record.points[-1]
    return {f"reached_{goal:g}": bool(point), f"steps_{goal:g}": at.steps, f"rollouts_{goal:g}": at.rollouts}


def differences(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row for any two arms and figure; `p_holm` of those with the reference, among which it is adjusted."""
    adjusted = {figure: comparison.adjusted(figure) for figure in comparison.figures}
    return [
        {"arm": p.arm, "other": p.other, "figure": p.figure, "seeds": p.seeds, "difference": p.difference.value}
        | {"low": p.difference.low, "high": p.difference.high, "p": None if math.isnan(p.p) else p.p}
        | {"p_holm": adjusted[p.figure].get(p.arm) if p.other == comparison.study.reference else None}
        for p in comparison.pairs()
    ]


def save(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows as CSV; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace(path, lambda file: file.write_text(text.getvalue()))

"""The tables and pictures of docs/findings, from the figures of every run that lie beside them.

Means, paired differences with 95 % t intervals over seeds, and p values adjusted for the number of comparisons (Holm).

    python benchmarks/findings.py credit [--also credit_first] [--reference grpo] [--draw credit_finals.png]
    python benchmarks/findings.py labels_two_hop --draw labels.png --under labels_three_hop
    python benchmarks/findings.py fidelity

`--also` is the same study another time: its differences, and those of both times together, all pairs of runs alike.
`--under` names another study that is drawn in the same picture, below.
`fidelity` has the scores of credits on a run instead, second column on the turns that hindsight credits.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdsearch.core.statistics import Estimate, holm, mean, p_value
from sdsearch.fidelity.advantages import TrueAdvantages
from sdsearch.fidelity.scores import Turns, scores

FINDINGS = Path(__file__).parents[1] / "docs" / "findings"
FIGURES = {"exact_match": "final exact match", "area": "area"}
Ends = Mapping[str, Mapping[str, Mapping[int, float]]]
"""By figure, arm and seed."""


def read(name: str) -> Ends:
    """Read the runs of a study."""
    ends: dict[str, dict[str, dict[int, float]]] = {figure: {} for figure in FIGURES}
    with (FINDINGS / f"{name}.csv").open() as file:
        for row in csv.DictReader(file):
            for figure in FIGURES:
                ends[figure].setdefault(row["arm"], {})[int(row["seed"])] = float(row[figure])
    return ends


def differences(ends: Ends, figure: str, arm: str, other: str) -> list[float]:
    """Return how much better an arm ended, seed by seed."""
    ours, theirs = ends[figure].get(arm, {}), ends[figure].get(other, {})
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def shown(estimate: Estimate, sign: str = "+") -> str:
    """Return an estimate with three digits."""
    if estimate.low is None or estimate.high is None:
        return "" if estimate.value != estimate.value else f"{estimate.value:{sign}.3f}"
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def table(first: Ends, second: Ends | None, reference: str) -> list[str]:
    """Return the rows of a Markdown table, the best end first."""
    arms = sorted(first["exact_match"], key=lambda arm: -mean([*first["exact_match"][arm].values()]).value)
    others = [arm for arm in arms if arm != reference]
    many: dict[tuple[str, int], dict[str, list[float]]] = {}
    for figure in FIGURES:
        many[figure, 1] = {arm: differences(first, figure, arm, reference) for arm in others}
    if second:
        many["exact_match", 2] = {arm: differences(second, "exact_match", arm, reference) for arm in others}
        many["exact_match", 3] = {
            arm: [*many["exact_match", 1][arm], *many["exact_match", 2][arm]]
            for arm in others
            if many["exact_match", 2][arm]
        }
    adjusted = {
        key: dict(zip(pairs, holm([p_value(values) for values in pairs.values()]), strict=True))
        for key, pairs in many.items()
    }
    names = {1: f"minus {reference}", 2: "the other time", 3: "both"}
    head = ["arm", "final exact match", *(f"{FIGURES[f]}, {names[n]} | p (Holm, {len(many[f, n])})" for f, n in many)]
    lines = [f"| {' | '.join(head)} |", "|---" * (2 + 2 * len(many)) + "|"]
    for arm in arms:
        cells = [shown(mean([*first["exact_match"][arm].values()]), "")]
        for key, pairs in many.items():
            there = pairs.get(arm)
            cells += [shown(mean(there)), f"{adjusted[key][arm]:.3f}"] if there else ["", ""]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def draw(studies: Mapping[str, Ends], reference: str, path: Path) -> None:
    """Draw where every arm ended, and the mean over the budget, as `finals.png` of a study; a row for each study."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = sum(1.2 + 0.3 * len(ends["exact_match"]) for ends in studies.values())
    figure = Figure(figsize=(10, 0.4 + height), layout="constrained")
    FigureCanvasAgg(figure)
    for panels, (name, ends) in zip(figure.subplots(len(studies), 2, squeeze=False), studies.items(), strict=True):
        arms = sorted(ends["exact_match"], key=lambda arm: -mean([*ends["exact_match"][arm].values()]).value)
        places = list(ends["exact_match"])
        for axes, (key, said) in zip(
            panels, {"exact_match": "at the end", "area": "over the budget"}.items(), strict=True
        ):
            for row, arm in enumerate(arms):
                values, colour = [*ends[key][arm].values()], f"C{places.index(arm) % 10}"
                value, low, high = mean(values)
                axes.plot(values, [row] * len(values), "o", ms=4, mfc="none", color=colour, alpha=0.5)
                axes.plot([low, high], [row, row], color=colour, lw=2)
                axes.plot(value, row, "|", ms=14, mew=2.5, color=colour)
                if arm == reference:
                    axes.axvline(value, color=colour, lw=0.8, ls=":")
            axes.grid(axis="x", alpha=0.3)
            axes.set(xlabel=f"{name}: held-out exact match {said}", ylim=(len(arms) - 0.5, -0.5))
        panels[0].set_yticks(range(len(arms)), arms)
        panels[1].set_yticks(range(len(arms)), [""] * len(arms))
    figure.suptitle(f"seeds, mean, 95 % t interval; dotted: mean of {reference}")
    figure.savefig(path, dpi=120)


def fidelity() -> list[str]:
    """Return a row for each credit whose figures on a run are in fidelity.csv."""
    with (FINDINGS / "fidelity.csv").open() as file:
        rows = [*csv.DictReader(file)]
    attempts = [[*turns] for _, turns in itertools.groupby(rows, lambda r: (r["question"], r["group"], r["attempt"]))]
    truth = []
    for turns in attempts:
        value, error, low, high = (
            np.array([float(r[k]) for r in turns]) for k in ("advantage", "error", "low", "high")
        )
        truth.append(TrueAdvantages(value, error, low, high, np.array([value, value])))
    judged = Turns.of(truth, [int(turns[0]["group"]) for turns in attempts])
    names = list(rows[0])[list(rows[0]).index("hindsight") :]
    lines = [
        "| credit | within | where hindsight credits | pooled | sign | on idle turns |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        numbers = [np.array([float(r[name] or "nan") for r in turns]) for turns in attempts]
        shared = [
            np.array([float(r[name] or "nan") if r["hindsight"] else np.nan for r in turns]) for turns in attempts
        ]
        found, there = scores(numbers, judged), scores(shared, judged)
        lines.append(f"| {name} | {found.within} | {there.within} | {found.pooled} | {found.sign} | {found.idle} |")
    return lines


def main() -> None:
    """Print the table of a study, and draw its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--also")
    parser.add_argument("--reference", default="grpo")
    parser.add_argument("--contrast", nargs=2, action="append", default=[], metavar=("ARM", "OTHER"))
    parser.add_argument("--draw")
    parser.add_argument("--under", action="append", default=[])
    options = parser.parse_args()
    if options.study == "fidelity":
        print("\n".join(fidelity()))
        return
    first, second = read(options.study), read(options.also) if options.also else None
    print("\n".join(table(first, second, options.reference)))
    for arm, other in options.contrast:
        times = [differences(ends, "exact_match", arm, other) for ends in (first, second) if ends]
        found = [shown(mean(values)) for values in (*times, [x for values in times for x in values])]
        print(f"{arm} minus {other}: {', then '.join(found)}")
    if options.draw:
        studies = {name: read(name) for name in (options.study, *options.under)}
        draw(studies, options.reference, FINDINGS / options.draw)


if __name__ == "__main__":
    main()

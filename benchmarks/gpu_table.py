"""What `gpu.py` has told, as Markdown for gpu.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

KINDS = ("machine", "step", "labels", "run")
Row = dict[str, Any]
LABELS = {
    "steps": "steps",
    "groups with both outcomes": "groups",
    "exact match before and after": "exact match",
    "label effect, nats a query": "label_effect",
    "a token": "label_effect_per_token",
    "own attempt left out": "label_effect_without_own",
}
"""What is told of label effects, under which name."""


def table(lines: Sequence[dict[str, Any]], arms: Sequence[str]) -> str:
    """Return what was told of `arms` as Markdown: medians of steps, without their first round."""
    from sdsearch.core.statistics import mean

    told = {kind: [x for x in lines if x["part"].split("/")[0] == kind and "skipped" not in x] for kind in KINDS}
    rounds = [x for x in told["step"] if x["round"]]
    steps, ratios, runs = list[Row](), list[Row](), list[Row]()
    for model in dict.fromkeys(x["model"] for x in rounds):
        mine = [x for x in rounds if x["model"] == model]
        for objective in arms:
            if lot := [x["figures"] for x in mine if x.get("objective") == objective]:
                middle = {name: median([each[name] for each in lot]) for name in lot[0]}
                steps.append({"model": model, "objective": objective, "rounds": len(lot), **middle})
        for what in ("learning", "whole step"):
            if each := [x["ratios"][what] for x in mine if "ratios" in x]:
                found = {"median": median(each), "lowest": min(each), "highest": max(each)}
                ratios.append({"model": model, "SD-Search / GRPO": what, "rounds": len(each), **found})
    labelled = [{name: x.get(key) for name, key in LABELS.items()} for x in told["labels"]]
    ends = {(x["arm"], x["seed"]): x for x in told["run"]}
    both = sorted(seed for arm, seed in ends if arm == "GRPO" and ("SD-Search", seed) in ends)
    gains = [ends["SD-Search", seed]["after"] - ends["GRPO", seed]["after"] for seed in both]
    for seed, gain in zip(both, gains, strict=True):
        matches = {f"{arm}, {when}": ends[arm, seed][when] for arm in arms for when in ("before", "after")}
        runs.append({"seed": seed, **matches, "SD-Search - GRPO": gain})
    if runs:
        runs.append({**dict.fromkeys(runs[0], ""), "seed": "mean", "SD-Search - GRPO": mean(gains)._asdict()})
    about = ["; ".join(f"{key}: {x[key]}" for key in x if key != "part" and x[key]) for x in told["machine"]]
    notes = [f"- {model}: {note}" for model, note in {x["model"]: x["about"] for x in rounds if "about" in x}.items()]
    names = [(" ".join(str(x[k]) for k in ("part", "arm", "seed") if k in x), x) for x in lines if "skipped" in x]
    skipped = [f"- {name} was skipped: {x['skipped']}" for name, x in names]
    parts = [about, markdown(steps), notes, markdown(ratios), markdown(labelled), markdown(runs), skipped]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def median(values: Sequence[float | None]) -> float | None:
    """Return the median; None where a value is not known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) == len(values) else None


def markdown(rows: Sequence[Row]) -> list[str]:
    """Return a table of rows that have the same columns."""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(map(cell, row.values()) for row in rows)] if rows else []
    return [f"| {' | '.join(row)} |" for row in cells]


def cell(value: Any) -> str:
    """Return a number, an estimate with its interval, or a text, as text."""
    if isinstance(value, dict):
        ends = "" if value["low"] is None else f" [{cell(value['low'])}, {cell(value['high'])}]"
        return cell(value["value"]) + ends
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return "-" if value is None else str(value)

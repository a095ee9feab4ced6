"""Is the gradient right that follows from each method's credit? The column "gradient" of docs/methods.md.

The credits of a method's spec, with their settings and weights, are judged together on the two problems whose exact
gradients are known, as `sdsearch fidelity --gradients` does with each credit by itself. Terms beside the policy
gradient and rollouts that branch have no part in it. `--write` puts the column into the tables, or makes it anew.

    python benchmarks/gradients.py [--groups 1500] [--write]
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import numpy as np

from sdsearch.contracts.credit import Credit
from sdsearch.core.statistics import Estimate
from sdsearch.core.trajectory import kept
from sdsearch.crediting.per_turn import by_turn
from sdsearch.fidelity.command import PROBLEMS
from sdsearch.fidelity.gradients import validity
from sdsearch.fidelity.known_problem import ExactProbe
from sdsearch.learning.credit import step_advantages
from sdsearch.spec import load

METHODS = Path(__file__).parents[1] / "docs" / "methods.md"
SPEC = re.compile(r"\(\.\./(specs/[^)]+\.yaml)\)")
HEAD, AFTER = "gradient", "cost"


def credits(spec: Path) -> list[Credit]:
    """Return what the policy gradient of a spec follows; nothing where there is none."""
    objective = load(spec).stages[0].objective
    return [*objective.credit] if any(getattr(t, "follows_credit", False) for t in objective.terms) else []


def cell(cosine: Estimate) -> str:
    """Return a cosine with three digits; "-" where the mean gradient points nowhere."""
    return "-" if math.isnan(cosine.value) else f"{cosine.value:.3f}"


def judged(groups: int) -> dict[str, str]:
    """Return the cell of each spec that a table of the page links."""
    names = dict.fromkeys(SPEC.findall(METHODS.read_text()))
    found: dict[str, list[str]] = {name: [] for name in names}
    seen: dict[str, str] = {}
    for problem in PROBLEMS.values():
        played = problem.groups(groups, 8, seed=0)
        seen.clear()
        for name in names:
            parts = credits(METHODS.parents[1] / name)
            key = " + ".join(sorted(f"{c.type} {c.model_dump_json()}" for c in parts))
            if parts and key not in seen:
                values = step_advantages(parts, played, ExactProbe(problem, 1)).values
                turns = [np.array([p.mean() for p in by_turn(t, v)]) for t, v in zip(kept(played), values, strict=True)]
                seen[key] = cell(validity(turns, played, problem).cosine)
            found[name].append(seen[key] if parts else "")
            print(name, found[name], flush=True)
    return {name: ", ".join(filter(None, cells)) or "no credit" for name, cells in found.items()}


def written(text: str, cells: dict[str, str]) -> str:
    """Return the page with the column, after the one that says what a step costs."""
    lines, place, old = [], 0, False
    for line in text.splitlines():
        row = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            place = 0
        elif AFTER in row:
            place, old = row.index(AFTER) + 1, HEAD in row
            row[place : place + old] = [HEAD]
            line = f"| {' | '.join(row)} |"
        elif place and set(row) == {"---"}:
            line = f"{'|---' * (len(row) + (not old))}|"
        elif place:
            link = SPEC.search(line)
            row[place : place + old] = [cells[link[1]] if link else ""]
            line = f"| {' | '.join(row)} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write, the column."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1500)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    cells = judged(options.groups)
    if options.write:
        METHODS.write_text(written(METHODS.read_text(), cells))


if __name__ == "__main__":
    main()

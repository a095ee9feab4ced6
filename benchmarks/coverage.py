"""How often do the 95 % intervals of `sdsearch fidelity` hold the truth?

Credits are judged on the known problem again and again, with other questions each time; what they score on thousands of
questions is taken for the truth.

    python benchmarks/coverage.py [CREDIT ...] [--times 400] [--questions 8 15 24 40]
"""

from __future__ import annotations

import argparse

import numpy as np

from sdsearch.core.statistics import Estimate
from sdsearch.core.trajectory import kept
from sdsearch.fidelity.advantages import TrueAdvantages
from sdsearch.fidelity.candidates import candidates, credited
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.fidelity.scores import Numbers, Scores, Turns, scores

SIZE = 8
"""Attempts at a question."""
POOL = 2000
"""Questions that tell the truth, and from which each set is drawn."""
FIGURES = ("within", "queries", "pooled", "sign", "idle")


def judged(credit: list[Numbers], truth: list[TrueAdvantages], search: list[list[bool]], chosen: list[int]) -> Scores:
    """Score a credit on some questions; on all of them, without intervals."""
    rows = [q * SIZE + i for q in chosen for i in range(SIZE)]
    asked = [q * (len(chosen) < POOL) for q in chosen for _ in range(SIZE)]
    return scores([credit[i] for i in rows], Turns.of([truth[i] for i in rows], asked, [search[i] for i in rows]))


def holds(estimate: Estimate, value: float) -> bool:
    """Say whether an interval holds a value, rounding aside."""
    low, high = estimate.low, estimate.high
    return low is not None and high is not None and low - 1e-9 <= value <= high + 1e-9


def main() -> None:
    """Print a Markdown table: a row for each credit and number of questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("credits", nargs="*", default=["group_mean", "gigpo", "hcapo", "tips", "turnsight"])
    parser.add_argument("--times", type=int, default=400)
    parser.add_argument("--questions", type=int, nargs="+", default=[8, 15, 24, 40])
    options = parser.parse_args()
    problem, dice = SearchProblem(), np.random.default_rng(0)
    groups = problem.groups(POOL, SIZE, seed=1)
    truth = [TrueAdvantages.exact(problem.advantages(t)) for t in kept(groups)]
    search = [[turn.kind == "search" for turn in t.turns] for t in kept(groups)]
    told, _ = credited(candidates(None, options.credits)[0], groups, ExactProbe(problem, 2))
    print(f"| credit | questions | {' | '.join(FIGURES)} |\n{'|---' * (2 + len(FIGURES))}|", flush=True)
    for name, credit in told.items():
        right = judged(credit, truth, search, [*range(POOL)])
        for questions in options.questions:
            hits = dict.fromkeys(FIGURES, 0)
            for _ in range(options.times):
                found = judged(credit, truth, search, dice.choice(POOL, questions, replace=False).tolist())
                for f in FIGURES:
                    estimate: Estimate = getattr(found, f)
                    hits[f] += holds(estimate, getattr(right, f).value)
            cells = [f"{count / options.times:.1%}" for count in hits.values()]
            print(f"| `{name}` | {questions} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""How well does the gradient of one step tell where that of many more rollouts points? On a run.

Nobody knows the exact gradient of a language model. But its checkpoint can play many steps, and the gradient of each is
compared with the mean over all others, whose rollouts are others: of the run's objective, of each of its terms, and of
a plain policy gradient after each credit, sum over tokens of credit * grad log p, mean over trajectories. Whether the
many point the right way another column tells: RLOO's gradient is an unbiased one of the expected reward, so that the
mean of another credit is compared with RLOO's, by products of different steps only, which hold no noise in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sdsearch.contracts.credit import Credit
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.contracts.loss import Term
from sdsearch.core.statistics import Estimate, jackknife
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group
from sdsearch.errors import ContextError, DataError
from sdsearch.fidelity.gradients import cut, three
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.gradients import Gradients
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.run_probe import RunProbe
from sdsearch.learning.teachers import score
from sdsearch.objectives.credit.leave_one_out import LeaveOneOut
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.policy.batching import table_batches
from sdsearch.spec import Stage

Products = NDArray[np.float64]
"""Of the gradients of any two steps, [steps, steps]."""
OBJECTIVE = "(the objective)"
PLAIN = ClippedPG(normalise="constant", constant=1)
"""In a first update, where every ratio is 1: the policy gradient."""


class Steadiness(NamedTuple):
    """The figures of one gradient; NaN where it is zero."""

    step: Estimate
    """The cosine of a step's gradient with the mean of all others, its mean over steps."""
    rloo: Estimate
    """The cosine of the mean gradient with RLOO's, freed of noise; NaN where either cannot be told from noise."""


def steadiness(own: Products, rloo: Products, between: Products) -> Steadiness:
    """Return the figures from products of gradients: with its own, of RLOO's with its own, and between the two."""

    def step(keep: NDArray[np.int64]) -> float:
        part = own[np.ix_(keep, keep)]
        size, rows, whole = np.diag(part), part.sum(1), part.sum()
        others = np.sqrt(np.maximum(whole - 2 * rows + size, 0.0))
        moving = (size > 0) & (others > 0)
        cosines = (rows - size)[moving] / (np.sqrt(size) * others)[moving]
        return float(cosines.mean()) if moving.any() else math.nan

    def alike(keep: NDArray[np.int64]) -> float:
        apart = [(p := m[np.ix_(keep, keep)]).sum() - np.trace(p) for m in (between, own, rloo)]
        return float(apart[0] / math.sqrt(apart[1] * apart[2])) if min(apart[1:]) > 0 else math.nan

    every = np.arange(len(own))
    rest = [every[every != i] for i in every]
    return Steadiness(*(cut(jackknife(of(every), [of(keep) for keep in rest])) for of in (step, alike)))


def step_gradients(
    probe: RunProbe, table: TokenTable, terms: Sequence[Term], step: int, seed: int | str
) -> dict[str, Tensor]:
    """Return the gradient of each term on the table of a step, times its weight, and their sum: [weights], on the CPU.

    Nothing is learned. Without dropout, which would be noise of its own.
    """
    policy = probe.weights.policies["live"]
    policy.model.eval()
    step_loss = StepLoss.of(table, terms, step, seed)
    gradients = Gradients(step_loss, policy.model.parameters())

    def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        return probe.weights.score(kind, table.at(index), hints)

    for part in table_batches(table, step_loss.needed, probe.budget):
        losses, _ = step_loss.losses(part, lambda index: score(policy, table.at(index)), teach)
        gradients.see(losses)
    flat = {name: torch.cat([g.flatten() for g in sums]).float().cpu() for name, sums in gradients.sums.items()}
    return {OBJECTIVE: sum(flat.values(), torch.zeros(())), **flat}


def products(one: Sequence[Tensor], two: Sequence[Tensor]) -> Products:
    """Return the products of any two gradients, [steps, steps]."""
    return np.array([[float(torch.dot(a.double(), b.double())) for b in two] for a in one])


class StepReport(NamedTuple):
    """How steady the gradients of a run are."""

    about: Mapping[str, str | int | float]
    rows: Mapping[str, Steadiness]
    skipped: Mapping[str, str]

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title="gradients of single steps", box=SIMPLE_HEAD, padding=0)
        for i, column in enumerate(("", "with those of all other steps", "their mean with RLOO's")):
            table.add_column(column, justify="right" if i else "left")
        for name, figures in self.rows.items():
            table.add_row(name, *map(three, figures))
        console.print(table)
        for name, value in (*self.about.items(), *((f"not judged: {n}", why) for n, why in self.skipped.items())):
            console.print(f"{name}: {value}", highlight=False, markup=False)

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        rows = {name: {f: e._asdict() for f, e in row._asdict().items()} for name, row in self.rows.items()}
        return {"about": dict(self.about), "gradients": rows, "skipped": dict(self.skipped)}


def of_run(
    probe: RunProbe,
    steps: Sequence[Sequence[Group]],
    stage: Stage,
    number: int,
    credits: Mapping[str, Credit],
    about: Mapping[str, str | int | float],
    skipped: Mapping[str, str],
) -> StepReport:
    """Return how steady the gradients of an objective and of credits are, over steps of groups that were played."""
    rows: dict[str, Steadiness] = {}
    why = dict(skipped)

    def over_steps(credit: Sequence[Credit], terms: Sequence[Term], first: int) -> list[dict[str, Tensor]]:
        device = probe.weights.policies["live"].device
        tables = [TokenTable.build(g, step_advantages(credit, g, probe).values).to(device) for g in steps]
        return [step_gradients(probe, t, terms, number - first, i) for i, t in enumerate(tables)]

    base = [g[OBJECTIVE] for g in over_steps([LeaveOneOut()], [PLAIN], 0)]
    rloo = products(base, base)
    objective = over_steps(stage.objective.credit, stage.objective.terms, stage.first)
    for name in objective[0] if len(objective[0]) > 2 else [OBJECTIVE]:  # of a single term, the sum says it all
        own = [g[name] for g in objective]
        rows[name] = steadiness(products(own, own), rloo, products(own, base))
    for name, credit in credits.items():
        try:
            own = [g[OBJECTIVE] for g in over_steps([credit], [PLAIN], 0)]
        except (DataError, ContextError) as error:
            why[name] = str(error)
            continue
        rows[f"credit {name}"] = steadiness(products(own, own), rloo, products(own, base))
    return StepReport({**about, "steps": len(steps)}, rows, why)

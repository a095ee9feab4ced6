"""One optimiser step: credit, token table, micro-batches, gradient."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor

from sdsearch.cost import Clock
from sdsearch.model.score import Teachers, score
from sdsearch.monitoring.drift import Drift
from sdsearch.monitoring.gradients import Gradients
from sdsearch.objective import Hints, Teacher
from sdsearch.spec import Experiment
from sdsearch.tokens import TokenTable
from sdsearch.trajectory import Group


def update(
    experiment: Experiment,
    accelerator: Accelerator,
    teachers: Teachers,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    step: int,
    clock: Clock,
    by_term: bool = False,
    credits: Sequence[NDArray[np.float64]] | None = None,
) -> dict[str, float]:
    """Take one optimiser step on a step's groups and return its figures.

    Those are "loss", "<term>/loss", "<term>/rows", "<term>/<what the term logs>", "gradient_norm" (before it is
    clipped), "learning_rate", and those of `Drift`; `by_term` adds those of `Gradients` and leaves the step as it is.
    `credits` are the objective's, where they are known: several updates then learn from the same ones.
    """
    settings, objective = experiment.train, experiment.objective
    assert objective is not None
    policy = teachers.policies["live"]
    since, elsewhere = time.perf_counter(), spent(clock)
    table = TokenTable.build(groups, objective.credits(groups) if credits is None else credits).to(policy.device)
    plan = objective.plan(table, step, experiment.seed, lambda counts: summed(accelerator, counts))
    policy.model.train()
    drift = Drift()
    # A single term's gradient is that of the update.
    gradients = Gradients(plan, policy.model.parameters()) if by_term and len(plan.terms) > 1 else None

    def student(index: Tensor) -> Tensor:
        rows = table.at(index)
        with accelerator.autocast():
            logits = score(policy, rows)
        began = time.perf_counter()
        drift.see(logits, rows)
        clock.time("monitor", began)
        return logits

    def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        began = time.perf_counter()
        with accelerator.autocast():
            logits = teachers.score(kind, table.at(index), hints)
        clock.time("score", began)
        return logits

    figures: defaultdict[str, float] = defaultdict(float)
    for part in batches(table, plan.needed, settings.tokens_per_batch):
        losses, parts = plan.losses(part, student, teach)
        loss = reduce(torch.add, losses.values())
        if gradients:
            began = time.perf_counter()
            gradients.see(losses)
            clock.time("monitor", began)
        accelerator.backward(loss)
        for name, value in {"loss": loss.detach(), **parts}.items():
            figures[name] += float(value)
    together = accelerator.num_processes > 1
    if together:
        # Shares are of the whole step, over all processes: gradients and figures add up.
        for parameter in policy.model.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = summed(accelerator, gradient)
        # A process has the figures of the terms that it has rows for: names differ, so whole tables are gathered.
        parts_of_all = gather_object([(dict(figures), drift)])
        figures, drift = defaultdict(float), Drift()
        for own, moved in parts_of_all:
            drift.add(moved)
            for name, value in own.items():
                figures[name] += value
    norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), settings.max_grad_norm)
    figures["gradient_norm"] = float(norm)
    figures["learning_rate"] = optimizer.param_groups[0]["lr"]
    figures |= drift.figures()
    if gradients:
        began = time.perf_counter()
        figures |= gradients.figures((lambda g: summed(accelerator, g)) if together else None)
        clock.time("monitor", began)
    elif by_term:
        figures |= {f"grad_norm/{planned.name}": float(norm) for planned in plan.terms}
    if norm > 0:
        # A step without contrast has nothing to say; Adam would go on in the direction of earlier ones.
        optimizer.step()
    optimizer.zero_grad()
    clock.time("train", since + spent(clock) - elsewhere)
    return dict(figures)


def spent(clock: Clock) -> float:
    """Return the seconds inside updates that are counted apart: those of teachers and of what is only watched."""
    return clock.seconds.get("score", 0.0) + clock.seconds.get("monitor", 0.0)


def over(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of a step of one or more updates (`train.epochs`).

    Each is the mean over the updates that have it, but those of `Drift` are the first update's: there a distance is a
    disagreement between sampler and trainer. The last update's, "drift_mean_last", "drift_max_last" and
    "effective_share_last", tell how far the step went on old samples.
    """
    names = dict.fromkeys(n for u in updates for n in u)
    found = {n: [u[n] for u in updates if n in u] for n in names}
    figures = {n: sum(values) / len(values) for n, values in found.items()}
    moved = [n for n in ("drift_mean", "drift_max", "effective_share") if n in found]
    return figures | {n: found[n][0] for n in moved} | {f"{n}_last": found[n][-1] for n in moved}


def summed(accelerator: Accelerator, value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    total: Tensor = accelerator.reduce(value.to(accelerator.device), "sum")
    return total


def batches(table: TokenTable, needed: Tensor, budget: int) -> list[Tensor]:
    """Cut the trajectories of needed rows into micro-batches of at most `budget` padded tokens.

    Each is an index into the table, of all rows of its trajectories. Groups go in order of length, so that little is
    padded and prompts are shared.
    """
    length = {t: p[-1] + 1 for t, p in table.at(needed).positions().items()}
    longest: dict[int, int] = {}
    for t, tokens in length.items():
        longest[table.group_of[t]] = max(longest.get(table.group_of[t], 0), tokens)
    found: list[list[int]] = [[]]
    width = 0
    for t in sorted(length, key=lambda t: (longest[table.group_of[t]], table.group_of[t], t)):
        if found[-1] and (len(found[-1]) + 1) * max(width, length[t]) > budget:
            found.append([])
            width = 0
        found[-1].append(t)
        width = max(width, length[t])
    return [table.rows_of(f) for f in found if f]

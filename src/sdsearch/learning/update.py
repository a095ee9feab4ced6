"""One optimiser step: token table, micro-batches, gradient."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.tokens import TokenTable
from sdsearch.core.usage import Clock
from sdsearch.learning.drift import Drift
from sdsearch.learning.gradients import Gradients
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import Teachers, score
from sdsearch.policy.batching import table_batches
from sdsearch.spec import Experiment


def update(
    experiment: Experiment,
    processes: Processes,
    teachers: Teachers,
    optimizer: torch.optim.Optimizer,
    table: TokenTable,
    step: int,
    clock: Clock,
    by_term: bool = False,
) -> dict[str, float]:
    """Take one optimiser step on the token table of a step and return its figures.

    Those are "loss", "<term>/loss", "<term>/rows", "<term>/<what the term logs>", "gradient_norm" (before it is
    clipped), "learning_rate", and those of `Drift`; `by_term` adds those of `Gradients` and leaves the step as it is.
    """
    settings, objective, accelerator = experiment.train, experiment.objective, processes.accelerator
    assert objective is not None
    policy = teachers.policies["live"]
    since, before = time.perf_counter(), elsewhere(clock)
    table = table.to(policy.device)
    step_loss = StepLoss.of(table, objective.terms, step, experiment.seed, processes.sum)
    policy.model.train()
    drift = Drift()
    # A single term's gradient is that of the update.
    gradients = Gradients(step_loss, policy.model.parameters()) if by_term and len(step_loss.parts) > 1 else None

    def student(index: Tensor) -> Tensor:
        rows = table.at(index)
        with accelerator.autocast():
            logits = score(policy, rows)
        with clock.timing("monitor"):
            drift.see(logits, rows)
        return logits

    def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        with clock.timing("score"), accelerator.autocast():
            return teachers.score(kind, table.at(index), hints)

    figures: defaultdict[str, float] = defaultdict(float)
    for part in table_batches(table, step_loss.needed, settings.tokens_per_batch):
        losses, logged = step_loss.losses(part, student, teach)
        loss = reduce(torch.add, losses.values())
        if gradients:
            with clock.timing("monitor"):
                gradients.see(losses)
        accelerator.backward(loss)
        for name, value in {"loss": loss.detach(), **logged}.items():
            figures[name] += float(value)
    if processes.count > 1:
        # Row weights are of the whole step, over all processes: gradients and figures add up.
        for parameter in policy.model.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = processes.sum(gradient)
        # A process has the figures of the terms that it has rows for: names differ, so whole tables are gathered.
        everyone = processes.gather((dict(figures), drift))
        figures, drift = defaultdict(float), Drift()
        for sums, moved in everyone:
            drift.add(moved)
            for name, figure in sums.items():
                figures[name] += figure
    norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), settings.max_grad_norm)
    figures["gradient_norm"] = float(norm)
    figures["learning_rate"] = optimizer.param_groups[0]["lr"]
    figures |= drift.figures()
    if gradients:
        with clock.timing("monitor"):
            figures |= gradients.figures(processes.sum if processes.count > 1 else None)
    elif by_term:
        figures |= {f"grad_norm/{part.name}": float(norm) for part in step_loss.parts}
    if norm > 0:
        # A step without contrast has nothing to say; Adam would go on in the direction of earlier ones.
        optimizer.step()
    optimizer.zero_grad()
    clock.time("train", since + elsewhere(clock) - before)
    return dict(figures)


def elsewhere(clock: Clock) -> float:
    """Return the seconds inside updates that are counted apart: those of teachers and of what is only watched."""
    return clock.seconds.get("score", 0.0) + clock.seconds.get("monitor", 0.0)


def over(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of a step of one or more updates (`train.epochs`).

    Each is the mean over the updates that have it, but those of `Drift` are the first update's: there a distance is a
    disagreement between sampler and trainer. The last update's, "drift_mean_last", "drift_max_last" and
    "effective_share_last", tell how far the step went on old samples.
    """
    names = dict.fromkeys(n for u in updates for n in u)
    values = {n: [u[n] for u in updates if n in u] for n in names}
    figures = {n: sum(each) / len(each) for n, each in values.items()}
    moved = [n for n in ("drift_mean", "drift_max", "effective_share") if n in values]
    return figures | {n: values[n][0] for n in moved} | {f"{n}_last": values[n][-1] for n in moved}

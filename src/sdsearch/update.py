"""One optimiser step: credit, token table, micro-batches, gradient."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from sdsearch.objective import Hints, Teacher
from sdsearch.plan import Plan
from sdsearch.rollout import Clock
from sdsearch.score import Teachers, score
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
) -> dict[str, float]:
    """Take one optimiser step on a step's groups and return its figures."""
    settings, objective = experiment.train, experiment.objective
    assert objective is not None
    policy = teachers.policies["live"]
    since, scored = time.perf_counter(), clock.seconds.get("score", 0.0)
    table = TokenTable.build(groups, objective.credits(groups)).to(policy.device)
    plan = objective.plan(table, step, experiment.seed, lambda counts: summed(accelerator, counts))
    policy.model.train()

    def student(index: Tensor) -> Tensor:
        with accelerator.autocast():
            return score(policy, table.at(index))

    def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        began = time.perf_counter()
        with accelerator.autocast():
            logits = teachers.score(kind, table.at(index), hints)
        clock.time("score", began)
        return logits

    figures: defaultdict[str, float] = defaultdict(float)
    for part in batches(plan, settings.tokens_per_batch):
        loss, parts = plan.loss(part, student, teach)
        accelerator.backward(loss)
        for name, value in parts.items():
            figures[name] += float(value)
    if accelerator.num_processes > 1:
        # Shares are of the whole step, over all processes: gradients and figures add up.
        for parameter in policy.model.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = summed(accelerator, gradient)
        # A process has the figures of the terms that it has rows for: names differ, so whole tables are gathered.
        parts_of_all = gather_object([dict(figures)])
        figures = defaultdict(float)
        for own in parts_of_all:
            for name, value in own.items():
                figures[name] += value
    norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), settings.max_grad_norm)
    figures["gradient_norm"] = float(norm)
    figures["learning_rate"] = optimizer.param_groups[0]["lr"]
    if norm > 0:
        # A step without contrast has nothing to say; Adam would go on in the direction of earlier ones.
        optimizer.step()
    optimizer.zero_grad()
    clock.time("train", since + clock.seconds.get("score", 0.0) - scored)
    return dict(figures)


def summed(accelerator: Accelerator, value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    total: Tensor = accelerator.reduce(value.to(accelerator.device), "sum")
    return total


def batches(plan: Plan, budget: int) -> list[Tensor]:
    """Cut the rows that some term needs into micro-batches of at most `budget` padded tokens.

    Each is an index into the table. Groups go in order of length, so that little is padded and prompts are shared.
    """
    table = plan.table
    length = {t: p[-1] + 1 for t, p in table.at(plan.needed).positions().items()}
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

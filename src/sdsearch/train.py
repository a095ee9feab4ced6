"""The training loop, top to bottom.

spec -> questions -> groups of trajectories -> credit -> token table -> policy forward -> terms -> step -> record
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from sdsearch import checkpoint
from sdsearch.agents.local import LocalActor
from sdsearch.errors import ModelError, RetrieverUnavailable, SpecError
from sdsearch.evaluate import evaluate, mean
from sdsearch.interrupt import Interrupt
from sdsearch.progress import Bars
from sdsearch.report.curve import curve
from sdsearch.rollout import Clock, collect
from sdsearch.run import Run
from sdsearch.score import Teachers
from sdsearch.spec import Experiment
from sdsearch.trajectory import Group
from sdsearch.types import Question
from sdsearch.update import update
from sdsearch.world import World


def train(experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
    """Run an experiment from its spec to the evaluated policy; return what it left behind.

    Raises `CheckpointError` for a run folder that is in the way, `RetrieverUnavailable` when outages last.
    """
    settings, objective, seed = experiment.train, experiment.objective, experiment.seed
    if objective is None:
        raise SpecError(f"{experiment.name}: `objective` is missing: training needs `credit` and `terms`")
    torch.manual_seed(seed)
    accelerator = Accelerator(mixed_precision=settings.precision)
    if settings.questions < accelerator.num_processes:
        raise SpecError(
            f"train.questions is {settings.questions} and there are {accelerator.num_processes} processes: "
            "expected at least one question for each"
        )
    run = Run(experiment.folder, experiment)
    if accelerator.is_main_process:
        run = Run.open(experiment, resume, fresh)
    accelerator.wait_for_everyone()
    environment = World(experiment.environment)
    questions = experiment.data.train.questions()
    held_out = experiment.data.test.questions()[: experiment.evaluate.questions]
    actor = experiment.agent.open(experiment.environment.protocol)
    if not isinstance(actor, LocalActor):
        raise ModelError(f"agent `{experiment.agent.type}` has no weights to train: use `local`")
    policy = actor.policy
    teachers = Teachers(policy, set(objective.teachers), settings.ema)
    parameters = list(policy.model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / max(1, settings.warmup_steps)))
    first = 0
    if resume:
        about, state = checkpoint.load(run.newest())
        checkpoint.restore(run.newest(), policy)
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        teachers.restore(state["teachers"])
        first = about["step"]
        if accelerator.is_main_process:
            run.rewind(first)

    def judge(step: int, bars: Bars) -> None:
        clock = Clock()
        judged = experiment.evaluate
        groups = evaluate(environment, actor, held_out, judged.batch, seed, judged.greedy, clock)
        figures = mean(groups)
        keep(f"evaluate_{step}", groups)
        record({"step": step, "evaluate": figures, "seconds": clock.seconds})
        bars.say(f"step {step}: held-out exact match {figures['exact_match']:.3f}")

    def record(metrics: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            run.record(metrics)

    def keep(name: str, groups: Sequence[Group]) -> None:
        if accelerator.is_main_process:
            run.keep(name, groups)

    def save(step: int) -> None:
        if not accelerator.is_main_process:
            return
        state = {
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "teachers": teachers.state(),
        }
        checkpoint.save(run.checkpoints, step, policy, state, {"name": experiment.name}, settings.keep_checkpoints)

    with Bars() as bars, Interrupt(bars.say) as interrupt:
        if first == 0:
            judge(0, bars)
        task = bars.task("train", settings.steps)
        task.advance(first)
        for step in range(first, settings.steps):
            clock, started = Clock(), time.perf_counter()
            asked = choose(questions, step, settings.questions, seed)
            asked = asked[accelerator.process_index :: accelerator.num_processes]
            own = collect(
                environment, actor, asked, settings.group, sampling_seed(seed, step, accelerator), clock=clock
            )
            groups = gather_object(own) if accelerator.num_processes > 1 else own
            figures = mean(groups)
            if figures["outage"] > settings.max_outage_rate:
                save(step)
                raise RetrieverUnavailable(
                    f"step {step}: the retriever failed in {figures['outage']:.0%} of the episodes "
                    f"(train.max_outage_rate is {settings.max_outage_rate:.0%}); "
                    f"mend it, then go on with --resume from {run.newest()}"
                )
            for _ in range(settings.epochs):
                losses = update(experiment, accelerator, teachers, optimizer, own, step, clock)
            schedule.step()
            teachers.follow()
            seconds = {**clock.seconds, "step": time.perf_counter() - started}
            record({"step": step + 1, "train": {**figures, **homogeneity(groups), **losses}, "seconds": seconds})
            keep(f"step_{step + 1}", groups)
            task.advance(note=f"reward {figures['reward']:.2f}")
            last = step + 1 == settings.steps
            if last or (settings.evaluate_every and (step + 1) % settings.evaluate_every == 0):
                judge(step + 1, bars)
            if last or interrupt.asked or (settings.checkpoint_every and (step + 1) % settings.checkpoint_every == 0):
                save(step + 1)
            if interrupt.asked and not last:
                raise KeyboardInterrupt(f"stopped after step {step + 1}; --resume goes on from {run.newest()}")
    if accelerator.is_main_process:
        curve(run.metrics(), run.folder / "learning_curve.png", f"{experiment.name}, seed {seed}")
    return run


def sampling_seed(seed: int, step: int, accelerator: Accelerator) -> int:
    """Return the seed of a step's rollouts: another one for each run, step and process."""
    return (seed * 1_000_003 + step) * int(accelerator.num_processes) + int(accelerator.process_index)


def homogeneity(groups: Sequence[Group]) -> dict[str, float]:
    """Return the share of groups whose rewards are all the same: they carry no contrast, hence no group credit."""
    same = [len({t.reward for t in g.kept}) < 2 for g in groups]
    return {"homogeneous": sum(same) / len(same)}


def choose(questions: Sequence[Question], step: int, count: int, seed: int) -> list[Question]:
    """Return the questions of a step: each epoch is a fresh shuffle, and the step alone says where in it we are."""
    first, last = step * count, (step + 1) * count
    order: list[int] = []
    for epoch in range(first // len(questions), (last - 1) // len(questions) + 1):
        order += random.Random(f"{seed}/{epoch}").sample(range(len(questions)), len(questions))
    start = first % len(questions)
    return [questions[i] for i in order[start : start + count]]

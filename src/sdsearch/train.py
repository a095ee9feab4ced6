"""The training loop, top to bottom.

spec -> questions -> groups of trajectories -> credit -> token table -> policy forward -> terms -> step -> record
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed

from sdsearch.agents.local import LocalActor
from sdsearch.draw import choose, due, sampling_seed
from sdsearch.errors import ModelError, RetrieverUnavailable, SpecError
from sdsearch.evaluate import evaluate, mean
from sdsearch.model.critic import Critic
from sdsearch.model.policy import Policy
from sdsearch.model.score import Teachers
from sdsearch.monitoring.behaviour import behaviour
from sdsearch.monitoring.monitor import Monitor
from sdsearch.probe import ModelProbe
from sdsearch.report.curve import curve
from sdsearch.report.page import page
from sdsearch.rollout import Clock, Play, Spent, bearable
from sdsearch.room import check_room
from sdsearch.spec import Experiment
from sdsearch.store import checkpoint
from sdsearch.store.dice import Dice
from sdsearch.store.run import Run
from sdsearch.store.state import Stateful
from sdsearch.terminal.interrupt import Interrupt
from sdsearch.terminal.progress import Bars
from sdsearch.trajectory import Group
from sdsearch.types import Question
from sdsearch.update import over, summed, update
from sdsearch.world import World

T = TypeVar("T")


def train(experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
    """Run an experiment from its spec to the evaluated policy; return what it left behind.

    Raises `CheckpointError` for a run folder that is in the way, `RetrieverUnavailable` when outages last.
    """
    settings, objective, seed = experiment.train, experiment.objective, experiment.seed
    if objective is None:
        raise SpecError(f"{experiment.name}: `objective` is missing: training needs `credit` and `terms`")
    set_seed(seed)
    accelerator = Accelerator(mixed_precision=settings.precision)
    if settings.questions < accelerator.num_processes:
        raise SpecError(
            f"train.questions is {settings.questions} and there are {accelerator.num_processes} processes: "
            "expected at least one question for each"
        )
    questions = experiment.data.train.questions()
    held_out = experiment.data.test.questions()[: experiment.evaluate.questions]
    actor = experiment.agent.open(experiment.environment.protocol)
    if not isinstance(actor, LocalActor):
        raise ModelError(f"agent `{experiment.agent.type}` has no weights to train: use `local`")
    policy, note = actor.policy, check_room(experiment, actor, questions, held_out)
    run = Run(experiment.folder, experiment)
    if accelerator.is_main_process:
        run = Run.open(experiment, resume, fresh)
    accelerator.wait_for_everyone()
    environment = World(experiment.environment)
    teachers = Teachers(policy, set(objective.teachers), settings.ema, other(experiment))
    total = partial(summed, accelerator) if accelerator.num_processes > 1 else None
    critic = Critic(policy, settings.critic_learning_rate, settings.max_grad_norm, total) if objective.critic else None
    optimizer = torch.optim.AdamW(
        policy.model.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
    )
    first, monitor = 0, Monitor(experiment.monitors)
    dice = Dice(policy.device)
    holders: dict[str, Stateful] = {
        "optimizer": optimizer,
        "teachers": teachers,
        "retrieval": environment.searcher,
        **({"critic": critic} if critic else {}),
    }
    newest = run.newest() if resume else None
    if newest:
        first = run.restore(newest, policy, holders, dice, accelerator.process_index, accelerator.num_processes)
    if resume and accelerator.is_main_process:
        run.rewind(first if newest else -1)
        for line in run.metrics():
            monitor.judge(line)
    spent = Spent(**next((m["spent"] for m in reversed(run.metrics()) if "spent" in m), {}))
    (spent,) = of_all(accelerator, spent)[:1]
    done = settings.budget is not None and settings.budget.reached(spent)
    rolled = of_all(accelerator, dice.state_dict())

    def everyone(value: Any) -> list[Any]:
        return of_all(accelerator, value)

    def begin(step: int, clock: Clock) -> Play:
        def lot(number: int) -> list[Question]:
            drawn = choose(questions, step, settings.questions, seed, number)
            return drawn[accelerator.process_index :: accelerator.num_processes]

        own = sampling_seed(seed, step, accelerator.process_index, accelerator.num_processes)
        return Play(environment, actor, lot(0), settings.group, own, step, lot, clock)

    def judge(step: int, bars: Bars) -> None:
        clock = Clock()
        judged = experiment.evaluate
        with surviving(step):
            groups = evaluate(
                environment, actor, held_out, judged.batch, seed, judged.greedy, clock, settings.max_outage_rate
            )
        figures = mean(groups)
        keep(f"evaluate_{step}", groups)
        record({"step": step, "evaluate": figures, "retrieval": asked_of(environment), "seconds": clock.seconds})
        report()
        bars.say(f"step {step}: held-out exact match {figures['exact_match']:.3f}")

    def asked_of(world: World) -> dict[str, float]:
        asked = of_all(accelerator, asdict(world.searcher.take()))
        return {name: sum(counters[name] for counters in asked) for name in asked[0]}

    def record(metrics: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            run.record(metrics)

    def keep(name: str, groups: Sequence[Group]) -> None:
        if accelerator.is_main_process:
            run.keep(name, groups)

    def report() -> None:
        if accelerator.is_main_process:
            with run.writing():
                page(run.folder, policy.decode)

    def save(step: int) -> None:
        if not accelerator.is_main_process:
            return
        state = {**{name: holder.state_dict() for name, holder in holders.items()}, "dice": rolled}
        about = {"spec": experiment.model_dump(mode="json")}
        checkpoint.save(run.checkpoints, step, policy, state, about, settings.keep_checkpoints)

    @contextmanager
    def surviving(step: int) -> Iterator[None]:
        try:
            yield
        except RetrieverUnavailable as error:
            if not (run.checkpoints / f"step_{step}").exists():
                save(step)
            raise RetrieverUnavailable(
                f"step {step}: {error}; mend the retriever, then go on with --resume from {run.newest()}"
            ) from error

    with Bars() as bars, Interrupt(bars.say) as interrupt:
        if note:
            bars.say(f"note: {note}")
        known = {m["step"] for m in run.metrics() if "evaluate" in m}
        if first not in known and (done or first in (0, settings.steps) or due(first, settings.evaluate_every)):
            judge(first, bars)
        task = bars.task("train", settings.steps)
        task.advance(first)
        for step in range(first, first if done else settings.steps):
            clock, started = Clock(), time.perf_counter()
            play = begin(step, clock)
            own = settings.rollouts.collect(play)
            groups = gather_object(own) if accelerator.num_processes > 1 else own
            figures = mean(groups)
            with surviving(step):
                bearable(groups, settings.max_outage_rate)
            probe = ModelProbe(
                play, experiment.environment.protocol, teachers, settings.tokens_per_batch, critic, everyone
            )
            credits = objective.credits(own, probe)
            for parameters in optimizer.param_groups:
                parameters["lr"] = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
            watched = due(step, experiment.monitors.gradients_every)
            updates = [
                update(experiment, accelerator, teachers, optimizer, own, step, clock, watched and not epoch, credits)
                for epoch in range(settings.epochs)
            ]
            teachers.follow()
            seconds = {**clock.seconds, "step": time.perf_counter() - started}
            play.spent.seconds = seconds["step"]
            spent = spent.plus(of_all(accelerator, play.spent))
            done = settings.budget is not None and settings.budget.reached(spent)
            figures = {**figures, **behaviour(groups), **over(updates)}
            line = {
                "step": step + 1,
                "train": figures,
                "retrieval": asked_of(environment),
                "seconds": seconds,
                "spent": spent.record(),
            }
            if accelerator.is_main_process and (notices := monitor.judge(line)):
                line["warnings"] = [notice._asdict() for notice in notices]
                for notice in notices:
                    bars.say(f"step {step + 1}: warning: {notice.text}")
            record(line)
            keep(f"step_{step + 1}", groups)
            task.advance(note=f"reward {figures['reward']:.2f}")
            rolled = of_all(accelerator, dice.state_dict())
            last = done or step + 1 == settings.steps
            if last or (settings.evaluate_every and (step + 1) % settings.evaluate_every == 0):
                judge(step + 1, bars)
                rolled = of_all(accelerator, dice.state_dict())
            stop = any(of_all(accelerator, interrupt.asked))
            if last or stop or (settings.checkpoint_every and (step + 1) % settings.checkpoint_every == 0):
                save(step + 1)
            if stop and not last:
                report()
                raise KeyboardInterrupt(f"stopped after step {step + 1}; --resume goes on from {run.newest()}")
            if last:
                break
    if accelerator.is_main_process:
        curve(run.metrics(), run.folder / "learning_curve.png", f"{experiment.name}, seed {seed}")
        report()
    return run


def other(experiment: Experiment) -> Policy | None:
    """Return the model that the spec names as `teacher`, if it does. Raises `ModelError` when it has no weights."""
    if experiment.teacher is None:
        return None
    actor = experiment.teacher.open(experiment.environment.protocol)
    if not isinstance(actor, LocalActor):
        raise ModelError(f"teacher `{experiment.teacher.type}` has no weights to score with: use `local`")
    return actor.policy


def of_all(accelerator: Accelerator, own: T) -> list[T]:
    """Return what each process has, in their order."""
    return list(gather_object([own])) if accelerator.num_processes > 1 else [own]

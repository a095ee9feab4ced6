"""The training loop, top to bottom.

spec -> questions -> groups of trajectories -> credit -> token table -> policy forward -> terms -> step -> record
"""

from __future__ import annotations

import time
from typing import Any

from sdsearch.cost import Clock
from sdsearch.draw import due
from sdsearch.evaluate import mean
from sdsearch.monitoring.behaviour import behaviour, credited
from sdsearch.probe import ModelProbe
from sdsearch.report.curve import curve
from sdsearch.rollout import bearable
from sdsearch.spec import Experiment
from sdsearch.store.run import Run
from sdsearch.terminal.interrupt import Interrupt
from sdsearch.terminal.progress import Bars
from sdsearch.trainer import Trainer
from sdsearch.update import over, update


def train(experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
    """Run an experiment from its spec to the evaluated policy; return what it left behind.

    Raises what `Trainer` does, and `RetrieverUnavailable` when outages last.
    """
    trainer = Trainer(experiment, resume, fresh)
    run, settings, done = trainer.run, experiment.train, trainer.first
    with Bars() as bars, Interrupt(bars.say) as interrupt:
        if trainer.note:
            bars.say(f"note: {trainer.note}")
        last = done == settings.steps or trainer.exhausted
        judged = {m["step"] for m in run.metrics() if "evaluate" in m}
        if done not in judged and (done == 0 or last or due(done, settings.evaluate_every)):
            bars.say(trainer.judge(done))
        task = bars.task("train", settings.steps)
        task.advance(done)
        while not last:
            line = step(trainer, done)
            done += 1
            for warning in line.get("warnings", ()):
                bars.say(f"step {done}: warning: {warning['text']}")
            task.advance(note=f"reward {line['train']['reward']:.2f}")
            last = done == settings.steps or trainer.exhausted
            if last or due(done, settings.evaluate_every):
                bars.say(trainer.judge(done))
            stop = any(trainer.of_all(interrupt.asked))
            if last or stop or due(done, settings.checkpoint_every):
                trainer.save(done)
            if stop and not last:
                trainer.report()
                raise KeyboardInterrupt(f"stopped after step {done}; --resume goes on from {run.newest()}")
    if trainer.main:
        curve(run.metrics(), run.folder / "learning_curve.png", f"{experiment.name}, seed {experiment.seed}")
    trainer.report()
    return run


def step(trainer: Trainer, number: int) -> dict[str, Any]:
    """Play questions, give credit, learn from it; return the line of metrics that was written."""
    settings, objective = trainer.experiment.train, trainer.objective
    clock, started = Clock(), time.perf_counter()
    play = trainer.begin(number, clock)
    own = settings.rollouts.collect(play)
    groups = trainer.everyones(own)
    with trainer.surviving(number):
        bearable(groups, settings.max_outage_rate)
    probe = ModelProbe(
        play,
        trainer.experiment.environment.protocol,
        trainer.teachers,
        settings.tokens_per_batch,
        trainer.critic,
        trainer.of_all,
    )
    with clock.around("credit"):
        credits = objective.credits(own, probe)
    warmth = min(1.0, (number + 1) / max(1, settings.warmup_steps))
    for parameters in trainer.optimizer.param_groups:
        parameters["lr"] = settings.learning_rate * warmth
    watched = due(number, trainer.experiment.monitors.gradients_every)
    updates = [
        update(
            trainer.experiment,
            trainer.accelerator,
            trainer.teachers,
            trainer.optimizer,
            own,
            number,
            clock,
            watched and not epoch,
            credits,
        )
        for epoch in range(settings.epochs)
    ]
    trainer.teachers.follow()
    seconds = {**clock.seconds, "step": time.perf_counter() - started}
    play.spent.seconds = seconds["step"]
    trainer.spent = trainer.spent.plus(trainer.of_all(play.spent))
    figures = {**mean(groups), **behaviour(groups), **over(updates)}
    if objective.credit:
        figures |= credited([part for own in trainer.of_all(credits) for part in own])
    line = {
        "step": number + 1,
        "train": figures,
        "retrieval": trainer.asked(),
        "seconds": seconds,
        "spent": trainer.spent.record(),
    }
    if trainer.main and (warnings := trainer.monitor.judge(line)):
        line["warnings"] = [warning._asdict() for warning in warnings]
    trainer.record(line, f"step_{number + 1}", groups)
    trainer.remember()
    return line

"""The training loop, top to bottom.

spec -> questions -> groups of trajectories -> advantages -> token table -> policy forward -> terms -> step -> record
"""

from __future__ import annotations

from contextlib import ExitStack
from shlex import quote

from accelerate import Accelerator

from sdsearch.learning.processes import Processes
from sdsearch.learning.trainer import Trainer
from sdsearch.report.charts import learning_curve
from sdsearch.rollout.order import due
from sdsearch.runs.folder import Run
from sdsearch.runs.lock import occupied
from sdsearch.spec import Experiment
from sdsearch.terminal.interrupt import Interrupt
from sdsearch.terminal.progress import Bars


def train(experiment: Experiment, resume: bool = False, fresh: bool = False, accept_changes: bool = False) -> Run:
    """Run an experiment from its spec to the evaluated policy; return what it left behind.

    `resume` goes on with a run that is there, `accept_changes` also where its data, corpus or index have changed since;
    `fresh` moves it aside.

    Raises what `Trainer` does, `CheckpointError` when another process works in the run's folder, and
    `RetrieverUnavailable` when outages last.
    """
    processes = Processes(Accelerator(mixed_precision="no"))
    with ExitStack() as held:
        # Where the folder is in use, all processes have to learn of it.
        processes.attempt(lambda: held.enter_context(occupied(experiment.folder)) if processes.main else None)
        run = loop(Trainer(experiment, processes, resume, fresh, accept_changes))
    processes.leave()
    return run


def loop(trainer: Trainer) -> Run:
    """Take all steps that a run has left, evaluating and saving in between; return the run."""
    run, experiment, settings, done = trainer.run, trainer.experiment, trainer.settings, trainer.first
    ends, shown = {stage.last for stage in experiment.stages}, f"sdsearch episode {quote(str(run.folder))}"
    with Bars() as bars, Interrupt(bars.say) as interrupt:
        for note in trainer.notes:
            bars.say(note)
        last = done == experiment.steps or trainer.exhausted
        evaluated = {m["step"] for m in run.metrics() if "evaluate" in m}
        if done not in evaluated and (last or done in {0, *ends} or due(done, settings.evaluate_every)):
            bars.say(trainer.evaluate(done, last))
        task = bars.task("train", experiment.steps)
        task.advance(done)
        while not last:
            metrics = trainer.step(done)
            done += 1
            for warning in metrics.get("warnings", ()):
                look = f" See what was played: {shown}" if warning["limit"] == "dead" else ""
                bars.say(f"step {done}: warning: {warning['text']}{look}")
            task.advance(note=f"reward {metrics['train']['reward']:.2f}")
            last = done == experiment.steps or trainer.exhausted
            if last or done in ends or due(done, settings.evaluate_every):
                bars.say(trainer.evaluate(done, last))
            stop = any(trainer.processes.gather(interrupt.asked))
            if last or stop or done in ends or due(done, settings.checkpoint_every):
                trainer.save(done)
            if stop and not last:
                trainer.report()
                raise KeyboardInterrupt(f"stopped after step {done}; --resume goes on from {run.newest()}")
    taken = [m["train"]["applied"] for m in run.metrics() if "applied" in m.get("train", {})]
    if taken and not any(taken):
        typed = "gradients were zero in all of them, or not finite"
        bars.say(f"warning: the run has learned nothing: not one update of its {len(taken)} steps was taken, {typed}")
    if trainer.processes.main:
        title = f"{experiment.name}, seed {experiment.seed}"
        learning_curve(run.metrics(), run.folder / "learning_curve.png", title)
    trainer.report()
    return run

"""The state of a run and one step of it: learner, sources, environment and run folder, in one process or several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from accelerate.utils import set_seed

from sdsearch.contracts.engine import LanguageModel
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock, Usage
from sdsearch.errors import SpecError
from sdsearch.learning.columns import Columns
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.faults import surviving
from sdsearch.learning.labels import hint_figures, measure
from sdsearch.learning.learner import Learner, over
from sdsearch.learning.loss import term_seed
from sdsearch.learning.preflight import longest_prompt, preflight
from sdsearch.learning.probe import ModelProbe
from sdsearch.learning.processes import Processes
from sdsearch.learning.source import Batch, Played, Source, Stored
from sdsearch.monitoring.behaviour import behaviour, credited, zero
from sdsearch.monitoring.labels import Measured, pooled
from sdsearch.monitoring.monitor import Monitor
from sdsearch.policy.policy import language_model
from sdsearch.report.page import page
from sdsearch.rollout.collect import EpisodeCollector, bearable
from sdsearch.rollout.evaluate import by_source, evaluate, headline, mean
from sdsearch.rollout.order import choose, due, step_seed
from sdsearch.runs import checkpoint
from sdsearch.runs.fingerprints import changed, fingerprints, refusal
from sdsearch.runs.folder import Run
from sdsearch.runs.random_states import RandomStates
from sdsearch.runs.state import Stateful
from sdsearch.runs.token_columns import joined
from sdsearch.spec import Experiment, Stage

StepMetrics = dict[str, Any]
"""A line of metrics.jsonl: `step`, what was trained or evaluated, and what it took."""


class Trainer:
    """Everything that lives from step to step.

    Each process has one; what is drawn or sampled is shared out among them, and the main one alone writes.
    """

    def __init__(
        self,
        experiment: Experiment,
        processes: Processes,
        resume: bool = False,
        fresh: bool = False,
        accept_changes: bool = False,
    ) -> None:
        """Open all that the spec names and take the run's folder; with `resume` go back to its newest checkpoint.

        `accept_changes` goes on although the files that the spec names hold something else than then.

        Raises `SpecError` for a spec that cannot be trained, `ModelError` for a model that cannot be loaded,
        `DataError` for stored groups that do not fit, `CheckpointError` for a run folder that is in the way or cannot
        be gone on with.
        """
        experiment = Run.settled(experiment) if resume else experiment
        settings = experiment.train
        if why := experiment.untrainable:
            raise SpecError(f"{experiment.name}: {why}")
        if settings.questions < processes.count:
            raise SpecError(
                f"train.questions is {settings.questions} and there are {processes.count} processes: "
                "expected at least one question for each"
            )
        set_seed(experiment.seed)
        self.processes = processes
        self.questions = experiment.questions("train")
        if processes.count > 1 and len(self.questions) < settings.questions:
            # A step would ask a question twice, and two processes play the same rollouts of it.
            raise SpecError(
                f"train.questions is {settings.questions} and `data.train` has {len(self.questions)}: with several "
                "processes expected at least as many"
            )
        self.held_out, self.some_held_out = experiment.held_out(), experiment.held_out(last=False)
        self.learner = Learner(experiment, processes)
        experiment = self.experiment = experiment.settled(self.learner.tokens_per_batch)
        self.settings = experiment.train
        model = language_model(experiment.model, experiment.sampling, self.learner.policy)
        self.session = experiment.agent.open(experiment.environment.grammar, model)
        self.sampler, self.synced = model.sampler, 0
        self.env_factory = experiment.environment.open()
        prompts = [longest_prompt(self.env_factory, model.codec, each) for each in (self.questions, self.held_out)]
        self.notes = experiment.remarks()
        if note := preflight(experiment, model, self.learner.policy.positions, *prompts):
            self.notes.append(f"note: {note}")
        self.run = Run(experiment.folder, experiment)
        self.sources = self.opened(model)
        self.run = processes.attempt(lambda: Run.begin(experiment, resume, fresh) if processes.main else self.run)
        self.monitor, self.random_states = Monitor(experiment.monitors), RandomStates(self.learner.policy.device)
        self.holders: dict[str, Stateful] = {**self.learner.holders, "retrieval": self.env_factory}
        self.usage = Usage()
        self.fingerprints = {
            **fingerprints(self.questions, self.held_out, self.env_factory.fingerprint),
            "model": model.codec.fingerprint,
            **{f"{name}.run": Run.open(source.run).fingerprint for name, source in experiment.sources() if source.run},
        }
        self.changes: list[dict[str, Any]] = []
        """After which steps the run went on with other files, and which."""
        self.first = self.resume(accept_changes) if resume else 0
        self.remember()

    def opened(self, model: LanguageModel) -> list[Source]:
        """Return the source of each phase."""
        sources: list[Source] = []
        for stage in self.experiment.stages:
            source, count = stage.source, self.settings.questions
            if source.type == "played":
                sources.append(Played(source, self.settings.rollouts, self.collector))
            else:
                run = Run.open(source.run) if source.run else self.run
                share, codec = self.processes.share, model.codec
                sources.append(Stored(source, run, stage.first, count, self.collector, share, codec))
        return sources

    def resume(self, accept_changes: bool) -> int:
        """Go back to the newest checkpoint, if there is one, and return after how many steps that was."""
        newest, first, nothing = self.run.newest(), 0, self.env_factory.state_dict()
        if newest:
            index, count = self.processes.index, self.processes.count
            about = self.run.restore(newest, self.learner.policy, self.holders, self.random_states, index, count)
            names = changed(about.get("fingerprints", {}), self.fingerprints)
            if names and not accept_changes:
                raise refusal(names, newest, self.run.folder)
            if names:
                self.notes.append(f"warning: {' and '.join(names)} held something else up to step {about['step']}")
                # Answers that were kept are of the index as it was.
                self.env_factory.load_state_dict(nothing)
            self.changes = [*about.get("changes", ()), *([{"step": about["step"], "what": names}] if names else ())]
            first, self.usage = about["step"], self.run.spent(newest, about)
        self.learner.version = first * self.settings.epochs
        if self.processes.main:
            self.run.rewind(first if newest else -1)
            for metrics in self.run.metrics():
                self.monitor.check(metrics)
        return first

    @property
    def exhausted(self) -> bool:
        """Whether the run's budget is spent."""
        return self.settings.budget is not None and self.settings.budget.reached(self.usage)

    def step(self, number: int) -> StepMetrics:
        """Take groups, give credit, learn from it; return the line of metrics that was written.

        Raises what `surviving` does.
        """
        with surviving(number, self.run, self.learner, self.save):
            return self.taken(number)

    def taken(self, number: int) -> StepMetrics:
        """Take a step, see `step`."""
        started, stage = time.perf_counter(), self.experiment.stage(number)
        source = self.sources[max(0, stage.number - 1)]
        self.follow()  # also where groups are stored: credits may play on from them
        batch = self.processes.attempt(lambda: source.batch(number))
        groups, dropped = self.processes.collect(batch.groups), self.processes.collect(batch.dropped)
        if source.sampled:
            bearable([*groups, *dropped], self.settings.max_outage_rate)
        credits, probe = stage.objective.credit, self.probe(batch.collector, stage.first)
        with batch.clock.around("credit"):
            advantages = self.processes.attempt(lambda: step_advantages(credits, batch.groups, probe))
        labels = self.labels(batch, stage, number, probe)
        hinted = self.hint_figures(batch, stage, number, probe)
        played, retrievals = {**mean(groups), **behaviour(groups)}, self.retrievals()  # of others, before weights move
        kept = (self.run.checkpoints / f"step_{number}").exists()
        updates, columns = self.learner.learn(batch.groups, advantages, stage, number, batch.clock, undo=not kept)
        figures = {**played, **over(updates, source.sampled)}
        if stage.objective.credit:
            figures |= credited(self.processes.collect(advantages.values))
            figures |= {f"zero/{name}": zero(self.processes.collect(part)) for name, part in advantages.parts.items()}
        figures |= {f"{name}/label_effect": pooled(pairs).value for name, pairs in labels.items()}
        figures |= hinted
        parts = {"train": figures, **({"labels": labels} if labels else {}), "retrieval": retrievals}
        return self.record(number, stage, batch, groups, parts, time.perf_counter() - started, columns)

    def labels(self, batch: Batch, stage: Stage, step: int, probe: ModelProbe) -> Measured:
        """Measure, now and then, whether the teachers of a step read their hints; see `sdsearch.learning.labels`."""
        monitors, objective = self.experiment.monitors, stage.objective
        if not due(step, monitors.labels_every):
            return {}
        within, most = step - stage.first, monitors.labels_groups
        with batch.clock.around("monitor"):
            mine = self.processes.attempt(lambda: measure(batch.groups, objective, within, probe, probe.seed, most))
        parts = self.processes.gather(mine)
        return {name: [pair for part in parts for pair in part.get(name, ())] for part in parts for name in part}

    def hint_figures(self, batch: Batch, stage: Stage, step: int, probe: ModelProbe) -> dict[str, float]:
        """Return what the hints of a step say of themselves, over all processes; see `sdsearch.contracts.hint`."""
        within, seed = step - stage.first, term_seed(self.learner.seed(stage), step - stage.first)
        mine = self.processes.attempt(lambda: hint_figures(batch.groups, stage.objective, within, seed, probe.seed))
        sums: dict[str, tuple[float, int]] = {}
        for part in self.processes.gather(mine):
            for name, (total, count) in part.items():
                known = sums.get(name, (0.0, 0))
                sums[name] = known[0] + total, known[1] + count
        return {name: total / count for name, (total, count) in sums.items() if count}

    def follow(self) -> None:
        """Let the sampler take up the weights, where they have moved since it last did."""
        if self.synced != self.learner.version:
            self.sampler.sync(self.learner.version)
            self.synced = self.learner.version

    def collector(self, step: int) -> EpisodeCollector:
        """Return a step's questions and all that is needed to play them."""
        settings, seed = self.settings, self.experiment.seed

        def lot(number: int) -> list[Question]:
            return self.processes.share(choose(self.questions, step, settings.questions, seed, number))

        seed_of_step = step_seed(seed, step)
        return EpisodeCollector(self.env_factory, self.session, lot(0), settings.group, seed_of_step, step, lot)

    def probe(self, collector: EpisodeCollector, first: int) -> ModelProbe:
        """Return what the credits of a step may ask, in the phase that began with step `first`."""
        grammar, learner = self.experiment.environment.grammar, self.learner
        budget = learner.tokens_per_batch
        return ModelProbe(collector, grammar, learner.teachers, budget, learner.critic, self.processes, first)

    def record(
        self,
        step: int,
        stage: Stage,
        batch: Batch,
        groups: Sequence[Group],
        parts: StepMetrics,
        seconds: float,
        columns: Columns | None,
    ) -> StepMetrics:
        """Write down what a step was, and return the line of metrics."""
        batch.collector.usage.seconds = seconds
        self.usage = self.usage.plus(self.processes.gather(batch.collector.usage))
        metrics: StepMetrics = {
            "step": step + 1,
            **({"phase": stage.number} if stage.number else {}),
            **parts,
            "seconds": {**batch.clock.seconds, "step": seconds},
            "spent": self.usage.record(),
        }
        if self.processes.main and (warnings := self.monitor.check(metrics)):
            metrics["warnings"] = [warning._asdict() for warning in warnings]
        self.write(metrics, f"step_{step + 1}", groups, columns)
        self.remember()
        return metrics

    def evaluate(self, step: int, last: bool = True) -> str:
        """Play the held-out questions, some of them unless it is the last time; write how it went, and say it.

        Raises what `surviving` does.
        """
        with surviving(step, self.run, self.learner, self.save):
            return self.evaluated(step, last)

    def evaluated(self, step: int, last: bool) -> str:
        """Evaluate, see `evaluate`."""
        settings, clock = self.experiment.evaluate, Clock()
        questions = self.held_out if last else self.some_held_out

        def play() -> list[Group]:
            mine, seed, limit = self.processes.share(questions), self.experiment.seed, self.settings.max_outage_rate
            return evaluate(self.env_factory, self.session, mine, settings.batch, seed, settings.greedy, clock, limit)

        self.follow()
        groups = self.processes.collect(self.processes.attempt(play))
        figures, retrievals = by_source(groups), self.retrievals()
        metrics = {"step": step, "evaluate": figures, "retrieval": retrievals, "seconds": clock.seconds}
        self.write(metrics, f"evaluate_{step}", groups)
        self.report()
        self.remember()
        name = headline(figures)
        return f"step {step}: held-out {name.replace('_', ' ')} {figures[name]:.3f}"

    def retrievals(self) -> dict[str, float]:
        """Return what the environment has counted since the last call, such as retrievals, in all processes."""
        counters = self.processes.gather(dict(self.env_factory.counters()))
        return {name: sum(c[name] for c in counters) for name in counters[0]}

    def write(self, metrics: StepMetrics, name: str, groups: Sequence[Group], columns: Columns | None = None) -> None:
        """Write trajectories and the line of metrics that tells of them; whoever sees the line finds them."""
        whole = joined(self.processes.collect(columns.by_group())) if columns else None
        if self.processes.main:
            self.run.keep(name, groups, whole)
            self.run.record(metrics)

    def report(self) -> None:
        """Write the run's page."""
        if self.processes.main:
            with self.run.writing():
                page(self.run.folder, self.learner.policy.codec.decode)

    def remember(self) -> None:
        """Keep where the random numbers of all processes are: a run that goes on from here draws the same ones."""
        self.remembered = self.processes.gather(self.random_states.state_dict())

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        if not self.processes.main:
            return
        state = {
            **{name: holder.state_dict() for name, holder in self.holders.items()},
            "random_states": self.remembered,
        }
        about = {
            "spec": self.experiment.model_dump(mode="json"),
            "phase": self.experiment.stage(step - 1).number,
            "spent": self.usage.record(),
            "fingerprints": self.fingerprints,
            "changes": self.changes,
        }
        rewards, keep = self.run.rewards(), self.settings.keep_checkpoints
        log = self.run.figures(step)
        checkpoint.save(self.run.checkpoints, step, self.learner.policy, state, about, keep, rewards, log)

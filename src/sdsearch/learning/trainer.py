"""The state of a run and one step of it: model, optimiser, environment and run folder, in one process or several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from accelerate.utils import set_seed

from sdsearch.agents.local import LocalSession
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock, Usage
from sdsearch.errors import ModelError, RetrieverUnavailable, SpecError
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.preflight import preflight
from sdsearch.learning.probe import ModelProbe
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import Teachers
from sdsearch.learning.update import over, update
from sdsearch.monitoring.behaviour import behaviour, credited
from sdsearch.monitoring.monitor import Monitor
from sdsearch.policy.critic import Critic
from sdsearch.policy.policy import Policy
from sdsearch.report.page import page
from sdsearch.rollout.collect import EpisodeCollector, bearable
from sdsearch.rollout.environment import SearchEnvFactory
from sdsearch.rollout.evaluate import evaluate, mean
from sdsearch.rollout.order import choose, due, sampling_seed
from sdsearch.runs import checkpoint
from sdsearch.runs.fingerprints import compare, fingerprints
from sdsearch.runs.folder import Run
from sdsearch.runs.random_states import RandomStates
from sdsearch.runs.state import Stateful
from sdsearch.spec import Experiment

StepMetrics = dict[str, Any]
"""A line of metrics.jsonl: `step`, what was trained or evaluated, and what it took."""


class Trainer:
    """Everything that lives from step to step.

    Each process has one; what is drawn or sampled is shared out among them, and the main one alone writes.
    """

    def __init__(self, experiment: Experiment, processes: Processes, resume: bool = False, fresh: bool = False) -> None:
        """Open all that the spec names and take the run's folder; with `resume` go back to its newest checkpoint.

        Raises `SpecError` for a spec that cannot be trained, `ModelError` for a model without weights,
        `CheckpointError` for a run folder that is in the way or cannot be gone on with.
        """
        settings, objective = experiment.train, experiment.objective
        if objective is None:
            raise SpecError(f"{experiment.name}: `objective` is missing: training needs `credit` and `terms`")
        set_seed(experiment.seed)
        self.experiment, self.settings, self.objective = experiment, settings, objective
        self.processes = processes
        if settings.questions < self.processes.count:
            raise SpecError(
                f"train.questions is {settings.questions} and there are {self.processes.count} processes: "
                "expected at least one question for each"
            )
        self.questions = experiment.data.train.questions()
        self.held_out = experiment.data.test.questions()[: experiment.evaluate.questions]
        self.session = trainable(experiment)
        self.policy = self.session.policy
        self.note = preflight(experiment, self.session, self.questions, self.held_out)
        self.run = Run(experiment.folder, experiment)
        if self.processes.main:
            self.run = Run.begin(experiment, resume, fresh)
        self.processes.wait()
        self.env_factory = SearchEnvFactory(experiment.environment)
        self.teachers = Teachers(self.policy, objective.teachers, settings.ema, external(experiment))
        total = self.processes.sum if self.processes.count > 1 else None
        rate, clip = settings.critic_learning_rate, settings.max_grad_norm
        self.critic = Critic(self.policy, rate, clip, total) if objective.critic else None
        self.optimizer = torch.optim.AdamW(
            self.policy.model.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
        )
        self.monitor, self.random_states = Monitor(experiment.monitors), RandomStates(self.policy.device)
        self.holders: dict[str, Stateful] = {
            "optimizer": self.optimizer,
            "teachers": self.teachers,
            "retrieval": self.env_factory.searcher,
            **({"critic": self.critic} if self.critic else {}),
        }
        self.usage = Usage()
        self.fingerprints = fingerprints(self.questions, self.held_out, self.env_factory.searcher.fingerprint)
        self.first = self.resume() if resume else 0
        self.remember()

    def resume(self) -> int:
        """Go back to the newest checkpoint, if there is one, and return after how many steps that was."""
        newest, first = self.run.newest(), 0
        if newest:
            index, count = self.processes.index, self.processes.count
            about = self.run.restore(newest, self.policy, self.holders, self.random_states, index, count)
            compare(newest, about.get("fingerprints", {}), self.fingerprints, self.run.folder)
            first, self.usage = about["step"], self.run.spent(about)
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
        """Play questions, give credit, learn from it; return the line of metrics that was written."""
        clock, started = Clock(), time.perf_counter()
        collector = self.collector(number, clock)
        local_groups = self.settings.rollouts.collect(collector)
        groups = self.processes.concatenate(local_groups)
        with self.surviving(number):
            bearable(groups, self.settings.max_outage_rate)
        with clock.around("credit"):
            advantages = step_advantages(self.objective.credit, local_groups, self.probe(collector))
        with clock.timing("train"):
            if self.critic and advantages.targets is not None:
                self.critic.learn(local_groups, advantages.targets, self.settings.tokens_per_batch)
            table = TokenTable.build(local_groups, advantages.values)
        self.warm_up(number)
        watched = due(number, self.experiment.monitors.gradients_every)
        updates = [
            update(
                self.experiment,
                self.processes,
                self.teachers,
                self.optimizer,
                table,
                number,
                clock,
                watched and not epoch,
            )
            for epoch in range(self.settings.epochs)
        ]
        self.teachers.follow()
        figures = {**mean(groups), **behaviour(groups), **over(updates)}
        if self.objective.credit:
            figures |= credited(self.processes.concatenate(advantages.values))
        seconds = {**clock.seconds, "step": time.perf_counter() - started}
        return self.record(number, groups, figures, seconds, collector.usage)

    def collector(self, step: int, clock: Clock) -> EpisodeCollector:
        """Return a step's questions and all that is needed to play them."""
        settings, seed = self.settings, self.experiment.seed

        def lot(number: int) -> list[Question]:
            return self.processes.share(choose(self.questions, step, settings.questions, seed, number))

        process_seed = sampling_seed(seed, step, self.processes.index, self.processes.count)
        return EpisodeCollector(self.env_factory, self.session, lot(0), settings.group, process_seed, step, lot, clock)

    def probe(self, collector: EpisodeCollector) -> ModelProbe:
        """Return what the credits of a step may ask."""
        grammar, budget = self.experiment.environment.protocol, self.settings.tokens_per_batch
        return ModelProbe(collector, grammar, self.teachers, budget, self.critic, self.processes)

    def warm_up(self, step: int) -> None:
        """Set the learning rate of a step."""
        warmth = min(1.0, (step + 1) / max(1, self.settings.warmup_steps))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.settings.learning_rate * warmth

    def record(
        self,
        step: int,
        groups: Sequence[Group],
        figures: dict[str, float],
        seconds: dict[str, float],
        usage: Usage,
    ) -> StepMetrics:
        """Write down what a step was, and return the line of metrics."""
        usage.seconds = seconds["step"]
        self.usage = self.usage.plus(self.processes.gather(usage))
        metrics: StepMetrics = {
            "step": step + 1,
            "train": figures,
            "retrieval": self.retrievals(),
            "seconds": seconds,
            "spent": self.usage.record(),
        }
        if self.processes.main and (warnings := self.monitor.check(metrics)):
            metrics["warnings"] = [warning._asdict() for warning in warnings]
        self.write(metrics, f"step_{step + 1}", groups)
        self.remember()
        return metrics

    def evaluate(self, step: int) -> str:
        """Play the held-out questions, write how it went, and say it in a line."""
        settings, limit, clock = self.experiment.evaluate, self.settings.max_outage_rate, Clock()
        seed = self.experiment.seed
        with self.surviving(step):
            groups = evaluate(
                self.env_factory, self.session, self.held_out, settings.batch, seed, settings.greedy, clock, limit
            )
        figures, retrievals = mean(groups), self.retrievals()
        metrics = {"step": step, "evaluate": figures, "retrieval": retrievals, "seconds": clock.seconds}
        self.write(metrics, f"evaluate_{step}", groups)
        self.report()
        self.remember()
        return f"step {step}: held-out exact match {figures['exact_match']:.3f}"

    def retrievals(self) -> dict[str, float]:
        """Return what the retriever was asked since the last call, by all processes."""
        counters = self.processes.gather(asdict(self.env_factory.searcher.take()))
        return {name: sum(c[name] for c in counters) for name in counters[0]}

    def write(self, metrics: StepMetrics, name: str, groups: Sequence[Group]) -> None:
        """Write trajectories and the line of metrics that tells of them; whoever sees the line finds them."""
        if self.processes.main:
            self.run.keep(name, groups)
            self.run.record(metrics)

    def report(self) -> None:
        """Write the run's page."""
        if self.processes.main:
            with self.run.writing():
                page(self.run.folder, self.policy.codec.decode)

    def remember(self) -> None:
        """Keep where the random numbers of all processes are: a run that goes on from here draws the same ones."""
        self.remembered = self.processes.gather(self.random_states.state_dict())

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        if not self.processes.main:
            return
        state = {**{name: holder.state_dict() for name, holder in self.holders.items()}, "dice": self.remembered}
        about = {
            "spec": self.experiment.model_dump(mode="json"),
            "spent": self.usage.record(),
            "fingerprints": self.fingerprints,
        }
        checkpoint.save(self.run.checkpoints, step, self.policy, state, about, self.settings.keep_checkpoints)

    @contextmanager
    def surviving(self, step: int) -> Iterator[None]:
        """Save what there is after `step` steps when the retriever fails for good, and say how to go on."""
        try:
            yield
        except RetrieverUnavailable as error:
            if not (self.run.checkpoints / f"step_{step}").exists():
                self.save(step)
            raise RetrieverUnavailable(
                f"step {step}: {error}; mend the retriever, then go on with --resume from {self.run.newest()}"
            ) from error


def trainable(experiment: Experiment) -> LocalSession:
    """Open the spec's agent. Raises `ModelError` when it has no weights."""
    session = experiment.agent.open(experiment.environment.protocol)
    if not isinstance(session, LocalSession):
        raise ModelError(f"agent `{experiment.agent.type}` has no weights to train: use `local`")
    return session


def external(experiment: Experiment) -> Policy | None:
    """Return the model that the spec names as `teacher`, if it does. Raises `ModelError` when it has no weights."""
    if experiment.teacher is None:
        return None
    session = experiment.teacher.open(experiment.environment.protocol)
    if not isinstance(session, LocalSession):
        raise ModelError(f"teacher `{experiment.teacher.type}` has no weights to score with: use `local`")
    return session.policy

"""What the training loop stands on: model, optimiser, world and run folder, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed

from sdsearch.agents.local import LocalActor
from sdsearch.cost import Clock, Spent
from sdsearch.draw import choose, sampling_seed
from sdsearch.errors import ModelError, RetrieverUnavailable, SpecError
from sdsearch.evaluate import evaluate, mean
from sdsearch.model.critic import Critic
from sdsearch.model.policy import Policy
from sdsearch.model.score import Teachers
from sdsearch.monitoring.monitor import Monitor
from sdsearch.report.page import page
from sdsearch.rollout import Play
from sdsearch.room import check_room
from sdsearch.spec import Experiment
from sdsearch.store import checkpoint
from sdsearch.store.dice import Dice
from sdsearch.store.run import Run
from sdsearch.store.state import Stateful
from sdsearch.trajectory import Group
from sdsearch.types import Question
from sdsearch.update import summed
from sdsearch.world import World

T = TypeVar("T")


class Trainer:
    """Everything that lives from step to step.

    Each process has one; what is drawn or sampled is shared out among them, and the main one alone writes.
    """

    def __init__(self, experiment: Experiment, resume: bool = False, fresh: bool = False) -> None:
        """Open all that the spec names and take the run's folder; with `resume` go back to its newest checkpoint.

        Raises `SpecError` for a spec that cannot be trained, `ModelError` for a model without weights,
        `CheckpointError` for a run folder that is in the way.
        """
        settings, objective, seed = experiment.train, experiment.objective, experiment.seed
        if objective is None:
            raise SpecError(f"{experiment.name}: `objective` is missing: training needs `credit` and `terms`")
        set_seed(seed)
        self.experiment, self.objective = experiment, objective
        self.accelerator = Accelerator(mixed_precision=settings.precision)
        self.processes, self.main = self.accelerator.num_processes, self.accelerator.is_main_process
        if settings.questions < self.processes:
            raise SpecError(
                f"train.questions is {settings.questions} and there are {self.processes} processes: "
                "expected at least one question for each"
            )
        self.questions = experiment.data.train.questions()
        self.held_out = experiment.data.test.questions()[: experiment.evaluate.questions]
        self.actor = trainable(experiment)
        self.policy = self.actor.policy
        self.note = check_room(experiment, self.actor, self.questions, self.held_out)
        self.run = Run(experiment.folder, experiment)
        if self.main:
            self.run = Run.open(experiment, resume, fresh)
        self.accelerator.wait_for_everyone()
        self.environment = World(experiment.environment)
        self.teachers = Teachers(self.policy, set(objective.teachers), settings.ema, external(experiment))
        total = partial(summed, self.accelerator) if self.processes > 1 else None
        rate, clip = settings.critic_learning_rate, settings.max_grad_norm
        self.critic = Critic(self.policy, rate, clip, total) if objective.critic else None
        self.optimizer = torch.optim.AdamW(
            self.policy.model.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
        )
        self.monitor, self.dice = Monitor(experiment.monitors), Dice(self.policy.device)
        self.holders: dict[str, Stateful] = {
            "optimizer": self.optimizer,
            "teachers": self.teachers,
            "retrieval": self.environment.searcher,
            **({"critic": self.critic} if self.critic else {}),
        }
        self.first = self.resume() if resume else 0
        before = [m["spent"] for m in self.run.metrics() if "spent" in m]
        self.spent = self.of_all(Spent(**before[-1]) if before else Spent())[0]
        self.remember()

    def resume(self) -> int:
        """Go back to the newest checkpoint, if there is one, and return after how many steps that was."""
        newest, first = self.run.newest(), 0
        if newest:
            index = self.accelerator.process_index
            first = self.run.restore(newest, self.policy, self.holders, self.dice, index, self.processes)
        if self.main:
            self.run.rewind(first if newest else -1)
            for line in self.run.metrics():
                self.monitor.judge(line)
        return first

    @property
    def exhausted(self) -> bool:
        """Whether the run's budget is spent."""
        budget = self.experiment.train.budget
        return budget is not None and budget.reached(self.spent)

    def of_all(self, own: T) -> list[T]:
        """Return what each process has, in their order."""
        return list(gather_object([own])) if self.processes > 1 else [own]

    def everyones(self, groups: Sequence[Group]) -> Sequence[Group]:
        """Return the groups of all processes, given those of this one."""
        return gather_object(list(groups)) if self.processes > 1 else groups

    def begin(self, step: int, clock: Clock) -> Play:
        """Return a step's questions and all that is needed to play them."""
        settings, seed, index = self.experiment.train, self.experiment.seed, self.accelerator.process_index

        def lot(number: int) -> list[Question]:
            return choose(self.questions, step, settings.questions, seed, number)[index :: self.processes]

        own = sampling_seed(seed, step, index, self.processes)
        return Play(self.environment, self.actor, lot(0), settings.group, own, step, lot, clock)

    def judge(self, step: int) -> str:
        """Play the held-out questions, write how it went, and say it in a line."""
        judged, limit, clock = self.experiment.evaluate, self.experiment.train.max_outage_rate, Clock()
        world, seed = self.environment, self.experiment.seed
        with self.surviving(step):
            groups = evaluate(world, self.actor, self.held_out, judged.batch, seed, judged.greedy, clock, limit)
        figures, asked = mean(groups), self.asked()
        line: dict[str, Any] = {"step": step, "evaluate": figures, "retrieval": asked, "seconds": clock.seconds}
        self.record(line, f"evaluate_{step}", groups)
        self.report()
        self.remember()
        return f"step {step}: held-out exact match {figures['exact_match']:.3f}"

    def asked(self) -> dict[str, float]:
        """Return what the retriever was asked since the last call, by all processes."""
        counters = self.of_all(asdict(self.environment.searcher.take()))
        return {name: sum(c[name] for c in counters) for name in counters[0]}

    def record(self, line: dict[str, Any], name: str, groups: Sequence[Group]) -> None:
        """Write trajectories and the line of metrics that tells of them; whoever sees the line finds them."""
        if self.main:
            self.run.keep(name, groups)
            self.run.record(line)

    def report(self) -> None:
        """Write the run's page."""
        if self.main:
            with self.run.writing():
                page(self.run.folder, self.policy.decode)

    def remember(self) -> None:
        """Keep where the random numbers of all processes are: a run that goes on from here draws the same ones."""
        self.rolled = self.of_all(self.dice.state_dict())

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        if not self.main:
            return
        state = {**{name: holder.state_dict() for name, holder in self.holders.items()}, "dice": self.rolled}
        about = {"spec": self.experiment.model_dump(mode="json")}
        checkpoint.save(self.run.checkpoints, step, self.policy, state, about, self.experiment.train.keep_checkpoints)

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


def trainable(experiment: Experiment) -> LocalActor:
    """Open the spec's agent. Raises `ModelError` when it has no weights."""
    actor = experiment.agent.open(experiment.environment.protocol)
    if not isinstance(actor, LocalActor):
        raise ModelError(f"agent `{experiment.agent.type}` has no weights to train: use `local`")
    return actor


def external(experiment: Experiment) -> Policy | None:
    """Return the model that the spec names as `teacher`, if it does. Raises `ModelError` when it has no weights."""
    if experiment.teacher is None:
        return None
    actor = experiment.teacher.open(experiment.environment.protocol)
    if not isinstance(actor, LocalActor):
        raise ModelError(f"teacher `{experiment.teacher.type}` has no weights to score with: use `local`")
    return actor.policy

"""Who owns the weights: policy, optimiser, teachers and critic, and all processes; it takes the optimiser steps."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.contracts.loss import LossInput, LossOutput
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock
from sdsearch.errors import DivergedError
from sdsearch.learning.columns import Columns
from sdsearch.learning.credit import StepAdvantages
from sdsearch.learning.drift import Drift
from sdsearch.learning.gradients import Gradients
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.processes import Processes
from sdsearch.learning.rollback import Rollback
from sdsearch.learning.teachers import Teachers, score
from sdsearch.policy.batching import table_batches
from sdsearch.policy.critic import Critic
from sdsearch.policy.memory import tokens_at_once
from sdsearch.policy.policy import Policy
from sdsearch.rollout.order import due
from sdsearch.runs.state import Stateful
from sdsearch.spec import Experiment, Stage


class Learned(NamedTuple):
    """What came of learning from a step."""

    updates: list[dict[str, float]]
    """The figures of each update."""
    columns: Columns | None
    """What was computed for each token, where it is to be kept."""


class Learner:
    """The one object that owns weights: the policy's, those of its teachers, and the critic's."""

    def __init__(
        self,
        experiment: Experiment,
        processes: Processes,
        needs: frozenset[str] = frozenset(),
        policy: Policy | None = None,
    ) -> None:
        """Load the spec's `model`, or take a `policy`, and copy it for each teacher that a phase, or `needs`, asks for.

        Raises `ModelError` when a model cannot be loaded, or its teacher has another vocabulary.
        """
        settings, objectives = experiment.train, [stage.objective for stage in experiment.stages]
        self.experiment, self.settings, self.processes = experiment, settings, processes
        other, temperature = experiment.teacher, experiment.sampling.temperature
        grammar = experiment.environment.grammar
        tags, preamble = grammar.tags, grammar.preamble
        self.policy = policy or Policy.load(experiment.model, temperature, tags, preamble)
        external = Policy.load(other, temperature, tags, preamble) if other else None
        kinds = needs.union(*(objective.teachers for objective in objectives))
        self.teachers = Teachers(self.policy, kinds - {"critic"}, settings.ema, external)
        asked = "critic" in needs or any(objective.critic for objective in objectives)
        rate, clip = settings.critic_learning_rate, settings.max_grad_norm
        self.critic = Critic(self.policy, rate, clip, processes.sum, processes.attempt) if asked else None
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            self.policy.model.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
        )
        self.tokens_per_batch = settings.tokens_per_batch or min(processes.gather(tokens_at_once(self.policy)))
        """The number of tokens in a micro-batch, where the spec leaves it to the machine."""
        self.version = 0
        """How many updates the policy has taken."""
        self.whole = True
        """Whether the weights are those after an update, and not in its midst: only then can they be saved."""

    @property
    def holders(self) -> dict[str, Stateful]:
        """What goes into a checkpoint beside the policy's weights, by name."""
        critic: dict[str, Stateful] = {"critic": self.critic} if self.critic else {}
        return {"optimizer": self.optimizer, "teachers": self.teachers, **critic}

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The policy's, and the critic's where there is one."""
        return [self.optimizer, *([self.critic.optimizer] if self.critic else [])]

    def learn(
        self,
        groups: Sequence[Group],
        advantages: StepAdvantages,
        stage: Stage,
        step: int,
        clock: Clock,
        undo: bool = False,
    ) -> Learned:
        """Learn from the groups of a step, `train.epochs` times. Critic and averaged teacher follow once.

        With `undo` the weights are what they were before when any of it fails, where more than one update is taken; the
        main process alone can save them, and keeps the copy that this needs, where its memory holds that.
        """
        several = self.critic is not None or self.settings.epochs > 1
        undo = undo and several and self.processes.main and Rollback.fits(self.optimizers)
        with self.undone() if undo else nullcontext():
            return self.learned(groups, advantages, stage, step, clock)

    def learned(
        self, groups: Sequence[Group], advantages: StepAdvantages, stage: Stage, step: int, clock: Clock
    ) -> Learned:
        """Learn from the groups of a step, see `learn`."""
        with clock.timing("train"):
            if self.critic and advantages.targets is not None:
                self.whole = False
                self.critic.learn(groups, advantages.targets, self.tokens_per_batch)
            table = TokenTable.build(groups, advantages.values).to(self.policy.device)
        columns = Columns(table, advantages.parts) if due(step, self.settings.columns_every) else None
        by_term = due(step, self.experiment.monitors.gradients_every)
        figures = [self.update(table, stage, step, clock, by_term=by_term, columns=columns)]
        for _ in range(1, self.settings.epochs):
            figures.append(self.update(table, stage, step, clock, first=False, columns=columns))
        self.teachers.follow()
        self.whole = True
        return Learned(figures, columns)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the weights back when what is done inside fails."""
        before, version = Rollback(self.optimizers, self.teachers.moving), self.version
        try:
            yield
        except Exception:
            before.back()
            self.version, self.whole = version, True
            raise

    def update(
        self,
        table: TokenTable,
        stage: Stage,
        step: int,
        clock: Clock,
        first: bool = True,
        by_term: bool = False,
        columns: Columns | None = None,
    ) -> dict[str, float]:
        """Take one optimiser step on the token table of a step and return its figures.

        The policy is scored as it samples, without dropout. A gradient of zero takes no optimiser step: there is no
        weight decay then either, and no momentum from earlier steps. Neither does one that is not finite, or whose loss
        is not. Raises `DivergedError` when the weights are not finite after one.

        The figures are "loss", "<term>/loss", "<term>/rows", "<term>/<what the term logs>", "gradient_norm" (before it
        is clipped), "learning_rate", "applied" (1, or 0 for an update that was not taken), and those of
        `Drift`; `by_term` adds those of `Gradients` and leaves the step as it is, and so do `columns`, which take what
        is computed for each row. The `first` update of a step fills the table's `old_logprob`.
        """
        accelerator, policy = self.processes.accelerator, self.policy
        since, before = time.perf_counter(), elsewhere(clock)
        terms, within, seed = stage.objective.terms, step - stage.first, self.seed(stage)
        step_loss = StepLoss.of(table, terms, within, seed, self.processes.sum, self.processes.attempt)
        self.warm_up(step)
        # Dropout would put noise into every ratio: what is learned is the model that samples, and that has none.
        policy.model.eval()
        drift = Drift()
        if columns:
            columns.begin(step_loss.parts)
        # A single term's gradient is that of the update.
        gradients = Gradients(step_loss, policy.model.parameters()) if by_term and len(step_loss.parts) > 1 else None

        def student(index: Tensor) -> Tensor:
            rows = table.at(index)
            with self.autocast():
                logits = score(policy, rows)
            with clock.timing("monitor"):
                drift.see(logits, rows.token, rows.sampler_logprob if first else rows.old_logprob)
                if columns:
                    columns.see_student(index, logits, rows.token)
            return logits

        def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
            with clock.timing("score"), self.autocast():
                return self.teachers.score(kind, table.at(index), hints)

        def see(name: str, index: Tensor, given: LossInput, output: LossOutput) -> None:
            if columns:
                with clock.timing("monitor"):
                    columns.see_term(name, index, given, output)

        def apart(losses: dict[str, Tensor]) -> None:
            if gradients:
                with clock.timing("monitor"):
                    gradients.see(losses)

        figures: defaultdict[str, float] = defaultdict(float)

        def descend() -> None:
            for part in table_batches(table, step_loss.needed, self.tokens_per_batch):
                loss, logged = step_loss.loss(part, student, teach, see, apart)
                accelerator.backward(loss)
                for name, value in logged.items():
                    figures[name] += float(value)

        self.processes.attempt(descend)
        # Row weights are of the whole step, over all processes: gradients and figures add up. A process has the figures
        # of the terms that it has rows for: names differ, so whole tables are gathered.
        self.processes.sum_gradients(policy.model.parameters())
        everyone = self.processes.gather((dict(figures), drift))
        total, drift = defaultdict[str, float](float), Drift()
        for sums, moved in everyone:
            drift.add(moved)
            for name, figure in sums.items():
                total[name] += figure
        norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), self.settings.max_grad_norm)
        total["gradient_norm"] = float(norm)
        total["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        total |= drift.figures()
        if gradients:
            with clock.timing("monitor"):
                total |= gradients.figures(self.processes.sum)
        elif by_term:
            total |= {f"grad_norm/{part.name}": float(norm) for part in step_loss.parts}
        # A step without contrast has nothing to say; Adam would go on in the direction of earlier ones.
        applied = 0 < total["gradient_norm"] < inf and isfinite(total["loss"])
        total["applied"] = float(applied)
        if applied:
            self.whole = False
            self.optimizer.step()
            self.sound(total)
        self.optimizer.zero_grad()
        self.version += 1
        clock.time("train", since + elsewhere(clock) - before)
        return dict(total)

    def sound(self, figures: Mapping[str, float]) -> None:
        """Raise `DivergedError` when a weight is not finite, or as good as that."""
        ends = [torch.stack(p.detach().aminmax()).abs().max().float() for p in self.policy.model.parameters()]
        if not (largest := float(torch.stack(ends).max())) < LARGEST_WEIGHT:
            raise DivergedError(
                f"the largest weight is {largest:.3g} after an update with a gradient norm of "
                f"{figures['gradient_norm']:.3g} and a learning rate of {figures['learning_rate']:g}"
            )

    def seed(self, stage: Stage) -> int | str:
        """Return what the terms of a phase draw the seeds of their steps from."""
        return f"{self.experiment.seed}/{stage.number}" if stage.number else self.experiment.seed

    def autocast(self) -> torch.autocast:
        """Return the precision of a forward pass: the learner's own, while an accelerator's is the process's."""
        return torch.autocast(self.policy.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def warm_up(self, step: int) -> None:
        """Set the learning rate of a step."""
        warmth = min(1.0, (step + 1) / max(1, self.settings.warmup_steps))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.settings.learning_rate * warmth


def elsewhere(clock: Clock) -> float:
    """Return the seconds inside updates that are counted apart: those of teachers and of what is only watched."""
    return clock.seconds.get("score", 0.0) + clock.seconds.get("monitor", 0.0)


LARGEST_WEIGHT = 1e18
"""What is larger has a square that float32 does not hold: nothing is computed with it any more."""
DRIFT = ("drift_mean", "drift_max", "effective_share")


def over(updates: Sequence[Mapping[str, float]], sampled: bool = True) -> dict[str, float]:
    """Return the figures of a step of one or more updates (`train.epochs`).

    Each is the mean over the updates that have it, but the learning rate, which is one number in all of them (a mean
    of three is another in its last digit), and those of `Drift`. The first update's compare the learner with
    the sampler: where both have the same weights, that is how far they disagree; where the groups were not `sampled` by
    this policy, it is how old they are ("stale_mean", "stale_max", "stale_share"). The last of several tell how far the
    step went from where it began ("drift_mean_last", "drift_max_last", "effective_share_last").
    """
    names = dict.fromkeys(n for u in updates for n in u if n not in DRIFT)
    values = {n: [u[n] for u in updates if n in u] for n in names}
    figures = {n: each[0] if n == "learning_rate" else sum(each) / len(each) for n, each in values.items()}
    first, last = ({n: u[n] for n in DRIFT if n in u} for u in (updates[0], updates[-1]))
    stale = dict(zip(DRIFT, ("stale_mean", "stale_max", "stale_share"), strict=True))
    figures |= first if sampled else {stale[n]: value for n, value in first.items()}
    return figures | ({f"{n}_last": value for n, value in last.items()} if len(updates) > 1 else {})

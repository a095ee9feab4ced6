"""What a run of a study has recorded so far, in the figures that arms are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sdsearch.core.usage import Usage
from sdsearch.rollout.evaluate import headline
from sdsearch.runs.stored_run import StoredRun
from sdsearch.study.spec import Job


class Point(NamedTuple):
    """One evaluation: what had been spent before it, and what it found."""

    steps: float
    rollouts: float
    tokens: float
    seconds: float
    exact_match: float
    """The reward, where the environment knows no exact match."""


@dataclass(frozen=True, eq=False)
class Record:
    """One run, as its metrics.jsonl tells it."""

    job: Job
    lines: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, job: Job) -> Record:
        """Read what is there; nothing is, before the run has begun."""
        return cls(job, StoredRun(job.experiment.folder).metrics())

    @property
    def trained(self) -> list[dict[str, Any]]:
        """The lines of training steps."""
        return [line for line in self.lines if "train" in line]

    @property
    def steps(self) -> int:
        """Training steps."""
        return int(self.trained[-1]["step"]) if self.trained else 0

    @property
    def spent(self) -> Usage:
        """What these have cost."""
        return Usage(**self.trained[-1]["spent"]) if self.trained else Usage()

    @property
    def met(self) -> bool:
        """Whether the budget was spent: a run can also end at `train.steps`, short of it."""
        budget = self.job.experiment.train.budget
        return budget is not None and budget.reached(self.spent)

    @property
    def done(self) -> bool:
        """Whether the run has ended: its last weights are judged and saved."""
        ended = self.met or self.steps == self.job.experiment.steps
        evaluated = bool(self.points) and self.points[-1].steps == self.steps
        return (
            ended and evaluated and (StoredRun(self.job.experiment.folder).checkpoints / f"step_{self.steps}").is_dir()
        )

    @cached_property
    def points(self) -> list[Point]:
        """The evaluations, in order."""
        spent = {0: Usage(), **{line["step"]: Usage(**line["spent"]) for line in self.trained}}
        evaluations = ((line["step"], line["evaluate"]) for line in self.lines if "evaluate" in line)
        return [Point(steps=s, exact_match=e[headline(e)], **spent[s].record()) for s, e in evaluations]

    @property
    def final(self) -> float:
        """Held-out exact match after the last step."""
        return self.points[-1].exact_match

    @property
    def no_answer(self) -> float:
        """The share of held-out episodes that gave no answer then; NaN where the run did not say."""
        last = next(line for line in reversed(self.lines) if "evaluate" in line)
        return float(last["evaluate"].get("no_answer", float("nan")))

    def area(self, quantity: str, horizon: float) -> float:
        """Return the mean of exact match over 0 ... `horizon` of a quantity, linear between evaluations."""
        x, y = self.line(quantity)
        grid = np.append(x[x < horizon], horizon)
        return float(np.trapezoid(np.interp(grid, x, y), grid) / horizon)

    def line(self, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the learning curve against a quantity: two arrays of shape [evaluations]."""
        return (
            np.array([getattr(p, quantity) for p in self.points]),
            np.array([p.exact_match for p in self.points]),
        )

    def reached(self, target: float) -> Point | None:
        """Return the first evaluation that is as good as the target; None: not while the run lasted (censored)."""
        return next((p for p in self.points if p.exact_match >= target), None)

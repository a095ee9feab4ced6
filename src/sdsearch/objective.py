"""Two sums: credit per sampled token, and a loss over rows of the token table.

credit_t = sum_i w_i * credit_i(group)_t                        "never credited" (NaN) is not zero
loss     = sum_j w_j(step) * sum_t share_j,t * value_j,t        share_j is counted over the whole step
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sdsearch.components.component import Component, Settings
from sdsearch.schedule import Schedule
from sdsearch.trajectory import Group, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch.plan import Plan
    from sdsearch.probe import Probe
    from sdsearch.tokens import TokenTable

Teacher = Literal["live", "ema", "frozen", "external"]
"""Weights that can score: the policy's, their moving average, its first ones, or those of the spec's `teacher`."""
Told = str | None | tuple[str | None, ...]
"""What the teacher of one trajectory sees: the same at every turn, or one text for each; None: there is no teacher."""
Hints = Sequence[Told]
Reduce = Callable[["Tensor"], "Tensor"]


class Credit(Component):
    """Says how much each sampled token deserves."""

    family: ClassVar[str] = "credit"
    asks: ClassVar[str] = ""
    """What it has to have beyond rollouts, their outcome, and what `needs` and hints name; for reports."""

    weight: float = 1.0
    """The factor of this credit in the sum over the credits of a spec; negative turns it round."""

    @property
    def needs(self) -> frozenset[str]:
        """The weights beside the policy's own that it asks the probe about: teachers of `Teacher`, "critic"."""
        return frozenset()

    @property
    def heeds_reward(self) -> bool:
        """Whether it goes by the `reward` of the trajectories it is given: with other rewards it credits otherwise."""
        return True

    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        """Return one array per trajectory of `group.kept`, shape [sampled tokens]; NaN: never credited.

        `group.kept` is not empty, its rewards are finite. A credit that looks at several groups at once, or has to ask
        more than rollouts and rewards can tell, overrides `credits` instead.
        """
        raise NotImplementedError(f"{self.type} has no `assign`: ask for its `credits`")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if type(self).assign is Credit.assign and type(self).credits is Credit.credits:
            raise ValueError(f"{self.type} defines neither `assign(group)` nor `credits(groups, probe)`: expected one")
        return self

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        """Return the arrays of a whole step, one per kept trajectory, group after group."""
        return [part for group in groups if group.kept for part in self.assign(group)]


class Hint(Component):
    """Says what the teacher sees before the prompt."""

    family: ClassVar[str] = "hint"

    @abstractmethod
    def texts(self, groups: Sequence[Group], seed: int) -> Sequence[Sequence[Told]]:
        """Return for each group, for each of its kept trajectories, the hint; None: this one has no teacher."""


def told(hint: Told, turn: int) -> str | None:
    """Return what a hint says at a turn."""
    return hint[turn] if isinstance(hint, tuple) else hint


class Selection(NamedTuple):
    """The rows that a term works on."""

    rows: Tensor
    """Bool, shape [rows of the table]."""
    teacher: Teacher | None = None
    """The weights that score these rows a second time, without gradient."""
    hints: Hints | None = None
    """What the teacher sees before the prompt, per trajectory of the table; rows of a None are dropped.

    No hints at all: the teacher sees what the policy saw.
    """


class Rows(NamedTuple):
    """What a term gets to see of a micro-batch: only the rows that it selected, in table order."""

    table: TokenTable
    """The selected rows."""
    logits: Tensor
    """The policy's logits, with gradient, at the sampling temperature; shape [rows, vocabulary]."""
    teacher_logits: Tensor | None
    """The teacher's logits for the same tokens, without gradient; shape [rows, vocabulary]."""
    hints: Hints | None = None
    """What the teacher saw, per trajectory of the table."""

    @property
    def logprob(self) -> Tensor:
        """The policy's log-probability of the sampled tokens now, with gradient; shape [rows]."""
        from sdsearch.model.divergence import pick

        return pick(self.logits, self.table.token)

    @property
    def teacher(self) -> Tensor:
        """The teacher's logits; raises `ValueError` when nobody gave any."""
        if self.teacher_logits is None:
            raise ValueError("got rows without teacher logits, expected a term that names a teacher in its selection")
        return self.teacher_logits


class Values(NamedTuple):
    """What a term makes of its rows; each row's number depends on nothing but the rows of its trajectory."""

    loss: Tensor
    """The loss of each row, shape [rows]."""
    metrics: Mapping[str, Tensor]
    """Other figures of each row, without gradient, for the log: averaged as the loss is, over the rows computed."""


class Term(Component):
    """One summand of the loss."""

    family: ClassVar[str] = "term"
    follows_credit: ClassVar[bool] = False
    """Whether it is a policy gradient: the pull of the terms with a hint is compared with its pull.

    Its loss and its gradient are zero on a trajectory without any credit but zero, which is then not computed.
    """

    heeds_credit: ClassVar[bool] = True
    """Whether it makes a difference to it what was credited."""

    weight: float | Schedule = 1.0
    """The factor of this term in the loss: a number, or one that changes with the step. At 0 it is not computed."""
    normalise: Literal["token", "trajectory", "constant"] = "token"
    """"token": every selected row of the step counts the same; "trajectory": every trajectory that has rows does;
    "constant": every row counts 1 / (`constant` x trajectories), so that no length is favoured (Dr. GRPO)."""
    constant: int = Field(256, ge=1)
    """Tokens, for `normalise: constant`: the length that a trajectory is taken to have."""

    @abstractmethod
    def select(self, table: TokenTable, seed: int) -> Selection:
        """Return the rows to work on; sees the table of the whole step, which may be empty."""

    @abstractmethod
    def values(self, rows: Rows) -> Values:
        """Return the loss of each row. Called once for each micro-batch that holds at least one selected row.

        A micro-batch holds whole trajectories: a number may depend on the other rows of its own trajectory.
        """

    def weight_at(self, step: int) -> float:
        """Return the weight at a step, counted from 0."""
        return self.weight.at(step) if isinstance(self.weight, Schedule) else self.weight


class Objective(Settings):
    """The two sums of a spec."""

    credit: list[Credit] = Field(default_factory=list)
    """Summed per token; without any, nothing is credited and the terms that need credit have no rows."""
    terms: list[Term] = Field(min_length=1)

    def credits(self, groups: Sequence[Group], probe: Probe | None = None) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, group after group, shape [sampled tokens]; NaN: never credited.

        A token that some credit leaves out has the sum of the others. Without a `probe` only credits that ask for none
        can be had. Raises `ValueError` when a reward is not finite, `ComponentError` when a credit does not fit.
        """
        from sdsearch.crediting.checked import checked
        from sdsearch.probe import Probe

        for group in groups:
            rewards = [t.reward for t in group.kept]
            if not np.isfinite(rewards).all():
                raise ValueError(f"question {group.question.id!r}: got the rewards {rewards}, expected finite numbers")
        totals = [np.full(t.sampled, np.nan) for group in groups for t in group.kept]
        for credit in self.credit:
            for total, part in zip(totals, checked(credit, groups, probe or Probe()), strict=True):
                scored = ~np.isnan(part)
                total[scored] = np.nan_to_num(total[scored]) + credit.weight * part[scored]
        return totals

    @property
    def teachers(self) -> set[str]:
        """The weights that teach at some step ("live", "ema", "frozen"): the last two must be kept from the start."""
        from sdsearch.tokens import TokenTable

        nothing = TokenTable.build([], [])
        used = {t.select(nothing, 0).teacher for t in self.terms if t.weight_at(sys.maxsize)}
        return {t for t in used if t is not None} | {n for c in self.credit for n in c.needs} - {"critic"}

    @property
    def critic(self) -> bool:
        """Whether some credit needs a critic."""
        return any("critic" in c.needs for c in self.credit)

    def plan(self, table: TokenTable, step: int, seed: int, reduce: Reduce | None = None) -> Plan:
        """Choose the rows of every term whose weight at `step` (counted from 0) is not zero, and their shares.

        Each step draws its own seed from `seed`. `reduce` sums counts, an int64 tensor with two numbers per term, over
        all processes; the shares then add up to 1 over all of them together. It is called once, in every process.
        """
        from sdsearch.plan import make

        names = [t.type for t in self.terms]
        names = [f"{n}_{names[:i].count(n) + 1}" if n in names[:i] else n for i, n in enumerate(names)]
        live = [(n, t, t.weight_at(step)) for n, t in zip(names, self.terms, strict=True) if t.weight_at(step)]
        return make(table, live, Random(f"{seed}/{step}").getrandbits(32), reduce)


def whole(trajectory: Trajectory, value: float) -> NDArray[np.float64]:
    """Spread one number over every sampled token of a trajectory."""
    return np.full(trajectory.sampled, value)

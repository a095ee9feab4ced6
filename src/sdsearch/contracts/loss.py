"""One summand of the loss: which rows of the token table it works on, and the loss of each of them.

loss = sum_j w_j(step) * sum_t row_weight_j,t * loss_j,t, where the row weights are counted over the whole step
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from sdsearch.config.component import Component, Settings
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.tokens import TokenTable

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["jsd", "forward_kl", "reverse_kl", "mse"]
"""How two distributions are compared; see `sdsearch.policy.logprobs.compare`."""
Tail = Literal["bucket", "renormalise", "drop"]
"""What becomes of the mass outside of a support; see `sdsearch.policy.logprobs.reduced`."""


class Schedule(Settings):
    """A weight that is zero before `from_step` and `value` from then on. Steps count from 0."""

    from_step: int = Field(0, ge=0)
    """So many steps go without: SD-Search has 50."""
    value: float = 1.0
    ramp: int = Field(0, ge=0)
    """Rise in so many equal parts, the last of which reaches `value`; 0 and 1: at once."""

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        done = step - self.from_step + 1
        return self.value * min(1.0, max(0, done) / max(1, self.ramp))


class Selection(NamedTuple):
    """The rows that a term works on."""

    rows: Tensor
    """Bool, shape [rows of the table]."""
    teacher: Teacher | None = None
    """The weights that score these rows a second time, without gradient: one of those that the term `needs`."""
    hints: Hints | None = None
    """What the teacher sees beside the prompt (`Hint.placed`), per trajectory of the table; rows of a None are dropped.

    No hints at all: the teacher sees what the policy saw.
    """
    over: Tensor | None = None
    """What the mean is over, where that is more than `rows`: bool, shape [rows of the table], `rows` among them.

    Rows that are in the mean and not among `rows` have a loss of zero.
    """


class LossInput(NamedTuple):
    """What a term gets to see of a micro-batch: only the rows that it selected, in table order."""

    table: TokenTable
    """The selected rows."""
    logits: Tensor
    """The policy's logits, with gradient, at the sampling temperature; shape [rows, vocabulary]."""
    logprob: Tensor
    """The policy's log-probability of the sampled tokens now, with gradient; shape [rows]."""
    teacher_logits: Tensor | None = None
    """The teacher's logits for the same tokens, without gradient; shape [rows, vocabulary]."""
    hints: Hints | None = None
    """What the teacher saw, per trajectory of the table."""

    @property
    def teacher(self) -> Tensor:
        """The teacher's logits; raises `ValueError` when nobody gave any."""
        if self.teacher_logits is None:
            raise ValueError("got rows without teacher logits, expected a term that names a teacher in its selection")
        return self.teacher_logits


class LossOutput(NamedTuple):
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

    Its loss and its gradient are zero on a trajectory without any advantage but zero, which is then not computed.
    """

    heeds_credit: ClassVar[bool] = True
    """Whether it makes a difference to it what was credited."""

    weight: float | Schedule = 1.0
    """The factor of this term in the loss: a number, or one that changes with the step. At 0 it is not computed."""
    normalise: Literal["token", "trajectory", "constant"] = "token"
    """What the term is a mean over. "token": every row of the step that it selects counts the same; "trajectory": every
    trajectory that has such rows does, and each of its rows the same within it; "constant": every row counts
    1 / (`constant` x trajectories that have rows), so that no length is favoured (Dr. GRPO)."""
    constant: int = Field(256, ge=1, le=1_000_000)
    """Tokens, for `normalise: constant`: the length that a trajectory is taken to have."""

    @property
    def needs(self) -> frozenset[str]:
        """The weights that its selections may name as `teacher`: they are kept from the start of a run."""
        return frozenset()

    @abstractmethod
    def select(self, table: TokenTable, seed: int) -> Selection:
        """Return the rows to work on; sees the table of the whole step, which may be empty."""

    @abstractmethod
    def loss(self, rows: LossInput) -> LossOutput:
        """Return the loss of each row. Called once for each micro-batch that holds at least one selected row.

        A micro-batch holds whole trajectories: a number may depend on the other rows of its own trajectory.
        """

    def weight_at(self, step: int) -> float:
        """Return the weight at a step, counted from 0."""
        return self.weight.at(step) if isinstance(self.weight, Schedule) else self.weight

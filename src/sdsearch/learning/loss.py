"""The loss of one step: the rows of each term, how much each row counts, and the loss of any part of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.config.component import named
from sdsearch.contracts.hint import Hints, Teacher, hint_at
from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.policy.logprobs import pick

Score = Callable[[Tensor], Tensor]
Teach = Callable[[Teacher, Hints | None, Tensor], Tensor]
See = Callable[[str, Tensor, LossInput, LossOutput], None]
"""Watches: is given a term's name, indices of rows of the table, what the term was given for them and made of them."""


class TermPart(NamedTuple):
    """A term's part in one step."""

    name: str
    """Its type; the second of a kind is called "kind_2", and so on."""
    term: Term
    weight: float
    selection: Selection
    """The rows that are computed: those that the term chose, without those whose loss is zero anyway."""
    row_weight: Tensor
    """Each row's weight in the mean over the step, float32 [rows of the table].

    Over all rows that the term chose they sum to 1, but for `normalise: constant`, and for a mean over more than these
    (`Selection.over`): then what they lack is the part of the rows whose loss is zero.
    """
    log_weight: Tensor
    """Each row's weight in the means of the figures for the log: over the rows that are computed, sum 1."""

    def loss(
        self,
        table: TokenTable,
        logits: Tensor,
        logprob: Tensor,
        index: Tensor,
        teach: Teach | None,
        see: See | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the rows `index` add to the term's mean over the step, and to its figures.

        `logits` [rows, vocabulary] are the policy's for these rows, `logprob` [rows] those of their tokens.
        """
        given = LossInput(table.at(index), logits, logprob, self._teach(index, teach), self.selection.hints)
        output = self.term.loss(given)
        if see:
            see(self.name, index, given, output)
        figures = {
            f"{self.name}/{what}": (self.log_weight[index] * value.detach()).sum()
            for what, value in output.metrics.items()
        }
        return (self.row_weight[index] * output.loss).sum(), figures

    def _teach(self, index: Tensor, teach: Teach | None) -> Tensor | None:
        if self.selection.teacher is None:
            return None
        if teach is None:
            raise ValueError(f"the term {self.name} needs the teacher {self.selection.teacher!r}, got none")
        with torch.no_grad():
            logits = teach(self.selection.teacher, self.selection.hints, index)
            return one_each(logits, index, "the teacher").detach()


Chosen = tuple[list[TermPart], list[tuple[int, int]]]
"""The terms of a step with the rows that they chose, and how many units the loss and the figures of each are over."""


@dataclass(frozen=True, slots=True, eq=False)
class StepLoss:
    """What one step computes: fixed before it is cut into micro-batches, so that the cut changes nothing."""

    table: TokenTable
    parts: tuple[TermPart, ...]

    @classmethod
    def of(
        cls,
        table: TokenTable,
        terms: Sequence[Term],
        step: int,
        seed: int | str,
        total: Callable[[Tensor], Tensor] = lambda counts: counts,
        attempt: Callable[[Callable[[], Chosen]], Chosen] = lambda work: work(),
    ) -> StepLoss:
        """Let every term whose weight at `step` (counted from 0) is not zero choose its rows.

        Each step draws its own seed from `seed`. `total` sums counts, an int64 tensor [terms, 2], over all processes;
        the weights then add up to 1 over all of them together. `attempt` lets the terms choose, and fails in all
        processes where one fails. Both are called once, in every process.
        """
        chosen, counts = attempt(lambda: cls.chosen(table, terms, step, term_seed(seed, step)))
        sums = total(table.token.new_tensor(counts).reshape(-1, 2)).clamp_min(1)
        return cls(
            table,
            tuple(
                part._replace(row_weight=part.row_weight / rows, log_weight=part.log_weight / logged)
                for part, (rows, logged) in zip(chosen, sums, strict=True)
            ),
        )

    @staticmethod
    def chosen(table: TokenTable, terms: Sequence[Term], step: int, seed: int) -> Chosen:
        """Return the parts of a step's terms before their weights are divided by the counts, and these counts."""
        signal = rows_with_signal(table)
        parts, counts = list[TermPart](), list[tuple[int, int]]()
        for name, term in named(terms):
            if not (weight := term.weight_at(step)):
                continue
            selection = valid(name, term, table, term.select(table, seed))
            computed = selection._replace(rows=selection.rows & signal) if term.follows_credit else selection
            row_weight, rows = normaliser(table, selection.rows, term.normalise, term.constant)
            if selection.over is not None:
                _, rows = normaliser(table, selection.over, term.normalise)
            # A figure is a mean, also where the loss is divided by a constant.
            mean = "trajectory" if term.normalise == "trajectory" else "token"
            log_weight, logged = normaliser(table, computed.rows, mean)
            parts.append(TermPart(name, term, weight, computed, row_weight, log_weight))
            counts.append((rows, logged))
        return parts, counts

    @property
    def needed(self) -> Tensor:
        """The rows that at least one term computes; bool, shape [rows of the table]."""
        needed = self.table.token.new_zeros(len(self.table)).bool()
        for part in self.parts:
            needed = needed | part.selection.rows
        return needed

    def loss(
        self,
        rows: Tensor,
        logits: Score,
        teacher: Teach | None = None,
        see: See | None = None,
        apart: Callable[[dict[str, Tensor]], None] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of `losses` and, with the rest of the figures, that sum as "loss".

        `apart` is given the losses of the terms before they are added.
        """
        losses, figures = self.losses(rows, logits, teacher, see)
        if apart:
            apart(losses)
        total = sum(losses.values(), self.table.sampler_logprob.new_zeros(()))
        return total, {"loss": total.detach(), **figures}

    def losses(
        self, rows: Tensor, logits: Score, teacher: Teach | None = None, see: See | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return, for each term, what its loss on some rows of the table adds to the step's, and figures for the log.

        Both add up: over any partition of the rows the losses, which are multiplied by the weights, sum to the loss of
        the step, and the figures, which are not and have no gradient, to its means ("<term>/rows" to a count): those
        that a term logs to means over the rows that are computed. A term without one of the rows has a zero without
        gradient. The first time that rows are computed fills their `old_logprob` in the table.

        Args:
            rows: Indices of rows.
            logits: Given indices of rows, ascending, returns the policy's logits, shape [indices, vocabulary].
            teacher: Given the weights' name, one hint per trajectory (or None) and indices, does so for a teacher.
            see: Watches what each term makes of its rows.
        """
        rows = rows.sort().values
        rows = rows[self.needed[rows]]
        scored = one_each(logits(rows), rows, "the policy") if len(rows) else None
        logprob = self._known(scored, rows) if scored is not None else None
        nothing = self.table.sampler_logprob.new_zeros(())
        losses: dict[str, Tensor] = {}
        figures: dict[str, Tensor] = {}
        for part in self.parts:
            selected = part.selection.rows[rows]
            index, mean = rows[selected], nothing
            if scored is not None and logprob is not None and len(index):
                if not selected.all():
                    chosen, chosen_logprob = scored[selected], logprob[selected]
                else:
                    chosen, chosen_logprob = scored, logprob  # no copy of all logits
                mean, logged = part.loss(self.table, chosen, chosen_logprob, index, teacher, see)
                figures |= logged
            losses[part.name] = part.weight * mean
            figures |= {f"{part.name}/loss": mean.detach(), f"{part.name}/rows": nothing.new_tensor(float(len(index)))}
        return losses, figures

    def _known(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the log-probabilities of the tokens of `rows`; where they are the first, they are the old ones too."""
        logprob = pick(logits, self.table.token[rows])
        old = self.table.old_logprob[rows]
        self.table.old_logprob[rows] = torch.where(old.isnan(), logprob.detach(), old)
        return logprob


def term_seed(seed: int | str, step: int) -> int:
    """Return the seed that terms are given at a step."""
    return Random(f"{seed}/{step}").getrandbits(32)


def rows_with_signal(table: TokenTable) -> Tensor:
    """Return the rows of trajectories with any advantage but zero; bool [rows of the table].

    The others, like those of a group without contrast, would cost a forward and a backward pass and move nothing.
    """
    moving = (table.advantage.nan_to_num() != 0).to(table.sampler_logprob.dtype)
    per_trajectory = moving.new_zeros(len(table.trajectories)).index_add(0, table.trajectory, moving)
    return per_trajectory[table.trajectory] > 0


def normaliser(table: TokenTable, rows: Tensor, normalise: str, constant: int = 1) -> tuple[Tensor, int]:
    """Return each row's part of one unit, float32 [rows of the table], and how many units there are.

    A unit is a selected row ("token") or a trajectory that has at least one ("trajectory", and "constant", where a row
    is one part in `constant` of it).
    """
    part = rows.to(table.sampler_logprob.dtype)
    if normalise == "token":
        return part, int(rows.sum())
    if normalise == "constant":
        return part / constant, len(set(table.trajectory[rows].tolist()))
    per_trajectory = part.new_zeros(len(table.trajectories)).index_add(0, table.trajectory, part)
    return part / per_trajectory.clamp_min(1)[table.trajectory], int((per_trajectory > 0).sum())


def valid(name: str, term: Term, table: TokenTable, selection: Selection) -> Selection:
    """Return a selection without the rows that have no hint. Raises `ValueError` when it cannot be used."""
    rows, teacher, hints, over = selection
    for what, mask in (("rows", rows), ("over", over)):
        if mask is not None and (str(mask.dtype) != "torch.bool" or mask.shape != (len(table),)):
            got = f"{mask.dtype} {tuple(mask.shape)}"
            raise ValueError(f"term {name}: got {what} {got}, expected torch.bool {(len(table),)}")
    if over is not None and (rows & ~over).any():
        raise ValueError(f"term {name}: got rows that its mean is not over, expected `over` to hold all of them")
    if teacher is not None and teacher not in term.needs:
        needs = ", ".join(sorted(term.needs)) or "none"
        raise ValueError(f"term {name}: got the teacher {teacher!r}, expected one that it `needs` ({needs})")
    if hints is None:
        return selection
    if teacher is None:
        raise ValueError(f"term {name}: got hints and no teacher, expected the teacher that sees them")
    if len(hints) != len(table.trajectories):
        raise ValueError(f"term {name}: got {len(hints)} hints, expected one per trajectory, {len(table.trajectories)}")
    for trajectory, hint in zip(table.trajectories, hints, strict=True):
        if isinstance(hint, tuple) and len(hint) < (turns := len(trajectory.actions)):
            raise ValueError(f"term {name}: got hints for {len(hint)} turns, expected one for each of {turns}")
    at = zip(table.trajectory.tolist(), table.turn.tolist(), strict=True)
    taught = table.token.new_tensor([hint_at(hints[trajectory], turn) is not None for trajectory, turn in at]).bool()
    return Selection(rows & taught, teacher, hints, over)


def one_each(logits: Tensor, index: Tensor, who: str) -> Tensor:
    """Return logits of `who` for rows `index`. Raises `ValueError` unless there is one row of them each."""
    if logits.ndim != 2 or len(logits) != len(index):
        raise ValueError(f"got logits of shape {tuple(logits.shape)} from {who}, expected ({len(index)}, vocabulary)")
    return logits

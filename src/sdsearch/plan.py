"""What one step computes: the rows of each term, how much each row counts, and the loss of any part of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.objective import Hints, Rows, Selection, Teacher, Term, told
from sdsearch.tokens import TokenTable

Score = Callable[[Tensor], Tensor]
Teach = Callable[[Teacher, Hints | None, Tensor], Tensor]


class Planned(NamedTuple):
    """A term's part in one step."""

    name: str
    """Its type; the second of a kind is called "kind_2", and so on."""
    term: Term
    weight: float
    selection: Selection
    """The rows that are computed: those that the term chose, without those whose loss is zero anyway."""
    share: Tensor
    """Each row's share in the mean over the step, shape [rows of the table]: of all rows that the term chose, sum 1
    (but for `normalise: constant`)."""
    seen: Tensor
    """Each row's share in the means of the figures for the log: of the rows that are computed, sum 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one step computes: fixed before it is cut into micro-batches, so that the cut changes nothing."""

    table: TokenTable
    terms: tuple[Planned, ...]

    @property
    def needed(self) -> Tensor:
        """The rows that at least one term computes; bool, shape [rows of the table]."""
        needed = self.table.token.new_zeros(len(self.table)).bool()
        for planned in self.terms:
            needed = needed | planned.selection.rows
        return needed

    def loss(self, part: Tensor, logits: Score, teacher: Teach | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of `losses` and, with the rest of the figures, that sum as "loss"."""
        losses, figures = self.losses(part, logits, teacher)
        total = sum(losses.values(), self.table.logprob.new_zeros(()))
        return total, {"loss": total.detach(), **figures}

    def losses(
        self, part: Tensor, logits: Score, teacher: Teach | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return, for each term, the share of its loss that falls on some rows of the table, and figures for the log.

        Both add up: over any partition of the rows the losses, which are multiplied by the weights, sum to the loss of
        the step, and the figures, which are not and have no gradient, to its means ("<term>/rows" to a count): those
        that a term logs to means over the rows that are computed. A term without a row in the part has a zero without
        gradient.

        Args:
            part: Indices of rows.
            logits: Given indices of rows, ascending, returns the policy's logits, shape [indices, vocabulary].
            teacher: Given the weights' name, one hint per trajectory (or None) and indices, does so for a teacher.
        """
        part = part.sort().values
        part = part[self.needed[part]]
        scored = checked(logits(part), part, "the policy") if len(part) else None
        nothing = self.table.logprob.new_zeros(())
        losses: dict[str, Tensor] = {}
        figures: dict[str, Tensor] = {}
        for name, term, weight, selection, share, seen in self.terms:
            mine = selection.rows[part]
            index = part[mine]
            mean = nothing
            if scored is not None and len(index):
                taught = self._teach(name, selection, index, teacher)
                own = scored if mine.all() else scored[mine]
                values = term.values(Rows(self.table.at(index), own, taught, selection.hints))
                mean = (share[index] * values.loss).sum()
                figures |= {f"{name}/{k}": (seen[index] * v.detach()).sum() for k, v in values.metrics.items()}
            losses[name] = weight * mean
            figures |= {f"{name}/loss": mean.detach(), f"{name}/rows": nothing.new_tensor(float(len(index)))}
        return losses, figures

    def _teach(self, name: str, selection: Selection, index: Tensor, teach: Teach | None) -> Tensor | None:
        if selection.teacher is None:
            return None
        if teach is None:
            raise ValueError(f"the term {name} needs the teacher {selection.teacher!r}, got none")
        with torch.no_grad():
            return checked(teach(selection.teacher, selection.hints, index), index, "the teacher").detach()


def make(
    table: TokenTable,
    terms: Sequence[tuple[str, Term, float]],
    seed: int,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Plan:
    """Let the terms, given with their names and weights, choose their rows. For `reduce` see `Objective.plan`."""
    chosen = [valid(name, table, term.select(table, seed)) for name, term, _ in terms]
    moving = stirred(table)
    live = [
        s._replace(rows=s.rows & moving) if term.follows_credit else s
        for (_, term, _), s in zip(terms, chosen, strict=True)
    ]
    both = [(term, s) for selections in (chosen, live) for (_, term, _), s in zip(terms, selections, strict=True)]
    parts = [portions(table, s.rows, term.normalise, term.constant) for term, s in both[: len(terms)]]
    # A figure is a mean, also where the loss is divided by a constant.
    parts += [
        portions(table, s.rows, "trajectory" if t.normalise == "trajectory" else "token") for t, s in both[len(terms) :]
    ]
    counts = table.token.new_tensor([count for _, count in parts])
    if reduce is not None:
        counts = reduce(counts)
    shares = [portion / count.clamp_min(1) for (portion, _), count in zip(parts, counts, strict=True)]
    share, seen = shares[: len(terms)], shares[len(terms) :]
    return Plan(table, tuple(Planned(*t, *rest) for t, *rest in zip(terms, live, share, seen, strict=True)))


def stirred(table: TokenTable) -> Tensor:
    """Return the rows of trajectories with any credit but zero; bool [rows of the table].

    The others, like those of a group without contrast, would cost a forward and a backward pass and move nothing.
    """
    moving = (table.credit.nan_to_num() != 0).to(table.logprob.dtype)
    return table.logprob.new_zeros(len(table.trajectories)).index_add(0, table.trajectory, moving)[table.trajectory] > 0


def portions(table: TokenTable, rows: Tensor, normalise: str, constant: int = 1) -> tuple[Tensor, int]:
    """Return each row's portion of one unit, float32 [rows of the table], and how many units there are.

    A unit is a selected row ("token") or a trajectory that has at least one ("trajectory", and "constant", where a row
    is one part in `constant` of it).
    """
    portion = rows.to(table.logprob.dtype)
    if normalise == "token":
        return portion, int(rows.sum())
    if normalise == "constant":
        return portion / constant, len(set(table.trajectory[rows].tolist()))
    per_trajectory = portion.new_zeros(len(table.trajectories)).index_add(0, table.trajectory, portion)
    return portion / per_trajectory.clamp_min(1)[table.trajectory], int((per_trajectory > 0).sum())


def valid(name: str, table: TokenTable, selection: Selection) -> Selection:
    """Return a selection without the rows that have no hint. Raises `ValueError` when it cannot be used."""
    rows, teacher, hints = selection
    if str(rows.dtype) != "torch.bool" or rows.shape != (len(table),):
        raise ValueError(f"term {name}: got rows {rows.dtype} {tuple(rows.shape)}, expected torch.bool {(len(table),)}")
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
    taught = table.token.new_tensor([told(hints[trajectory], turn) is not None for trajectory, turn in at]).bool()
    return Selection(rows & taught, teacher, hints)


def checked(logits: Tensor, index: Tensor, who: str) -> Tensor:
    """Return logits of `who` for rows `index`. Raises `ValueError` unless there is one row of them each."""
    if logits.ndim != 2 or len(logits) != len(index):
        raise ValueError(f"got logits of shape {tuple(logits.shape)} from {who}, expected ({len(index)}, vocabulary)")
    return logits

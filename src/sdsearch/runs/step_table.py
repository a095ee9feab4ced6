"""One training step, token by token: what was sampled, and what each part of the objective made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdsearch.core.tokens import sampled_rows
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.errors import DataError
from sdsearch.runs.token_columns import REMEDY, Column, HintLine, TokenColumns, selected


class Alternatives(NamedTuple):
    """The most probable tokens of the rows that a term selected, most probable first."""

    rows: Column
    """Which rows of the table these are, int64 [selected rows]."""
    token: Column
    """Token ids, int32 [selected rows, k]."""
    logprob: Column
    """Their log-probabilities, float16 [selected rows, k]."""


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """The sampled tokens of a stored step, a row each: the numpy twin of a `TokenTable`; arrays have shape [rows]."""

    token: Column
    """What was sampled, int64."""
    span: Column
    """What it is part of, a `trajectory.Span`, int8."""
    trajectory: Column
    """Index into `trajectories`, int64."""
    turn: Column
    """The turn that it belongs to, from 0, int64."""
    position: Column
    """Its index in `trajectories[trajectory].tokens`, int64."""
    columns: Mapping[str, Column]
    """What was computed, by name; NaN: not for this row. See `docs/runs.md` for the names."""
    hints: tuple[HintLine, ...]
    """What the terms' teachers saw."""
    groups: tuple[Group, ...]
    """The groups that the columns cover: all of the step, or the first ones where it was too large."""
    trajectories: tuple[Trajectory, ...]
    """Their kept trajectories, group after group."""
    group_of: tuple[int, ...]
    """For each of `trajectories` the index of its group in `groups`."""

    @classmethod
    def build(cls, groups: Sequence[Group], columns: TokenColumns | None, path: Path) -> StepTable:
        """Line the groups of a step up with its columns, which lie at `path`; None: none were kept.

        Then there is one column, the sampler's log-probability, which the trajectories hold themselves.
        Raises `DataError` when the columns are of other trajectories.
        """
        if columns is not None:
            groups = covered(groups, len(columns.sampled))
        kept = [(g, t) for g, group in enumerate(groups) for t in group.kept]
        sampled = tuple(t.sampled for _, t in kept)
        if columns is not None and columns.sampled != sampled:
            raise DataError(
                f"{path} is of other trajectories: got {len(columns.sampled)} with {sum(columns.sampled)} sampled "
                f"tokens, expected {len(sampled)} with {sum(sampled)}. {REMEDY}"
            )
        nothing = np.empty(0)
        parts = [sampled_rows(i, t, np.full(t.sampled, np.nan)) for i, (_, t) in enumerate(kept)]
        token, logprob, _, span, trajectory, turn, position = (
            np.concatenate(c) for c in (zip(*parts, strict=True) if parts else [[nothing]] * 7)
        )
        return cls(
            token=token,
            span=span,
            trajectory=trajectory,
            turn=turn,
            position=position,
            columns={"logprob/sampler": logprob} if columns is None else columns.values,
            hints=() if columns is None else columns.hints,
            groups=tuple(groups),
            trajectories=tuple(t for _, t in kept),
            group_of=tuple(g for g, _ in kept),
        )

    def __len__(self) -> int:
        return len(self.token)

    def __getitem__(self, name: str) -> Column:
        """Return a column. Raises `DataError`, with the names that there are, when there is none of that name."""
        if name not in self.columns:
            raise DataError(f"got the column {name!r}, expected one of {', '.join(sorted(self.columns))}")
        return self.columns[name]

    def top(self, who: str, term: str) -> Alternatives:
        """Return the most probable tokens of the "student" or the "teacher" where a term with a teacher worked.

        Raises `DataError` when there are none.
        """
        name = f"top/{who}/{term}"
        return Alternatives(np.flatnonzero(self[selected(name)]), self[name], self[f"{name}/logprob"])

    def hint(self, term: str, trajectory: int, turn: int) -> str | None:
        """Return what the teacher of a term saw at a turn of a trajectory; None: nothing."""
        at = ((h.term, h.trajectory) == (term, trajectory) and h.turn in (None, turn) for h in self.hints)
        return next((h.text for h, here in zip(self.hints, at, strict=True) if here), None)


def covered(groups: Sequence[Group], trajectories: int) -> list[Group]:
    """Return the first groups that have so many kept trajectories."""
    ends = np.cumsum([len(group.kept) for group in groups])
    return [group for group, end in zip(groups, ends, strict=True) if end <= trajectories]

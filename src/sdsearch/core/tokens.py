"""Trajectories -> one flat table of sampled tokens: no padding, and no mask that an objective could get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.number import LARGEST
from sdsearch.core.trajectory import Group, Trajectory

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """The sampled tokens of the kept trajectories of a step, one row each; every tensor has shape [rows].

    Rows lie trajectory after trajectory, in the order in which they were sampled.
    """

    token: Tensor
    """What was sampled, int64."""
    sampler_logprob: Tensor
    """Its log-probability as the sampler reported it, float32."""
    old_logprob: Tensor
    """That by the learner's own weights before the first update of the step, float32: what ratios are taken to.

    It comes with that update's own forward pass (`at` the rows that it computed); NaN until then.
    """
    advantage: Tensor
    """What it deserves, float32; NaN: never credited."""
    span: Tensor
    """What it is part of, a `trajectory.Span`, int8."""
    trajectory: Tensor
    """Index into `trajectories`, int64."""
    turn: Tensor
    """The turn that it belongs to, from 0, int64."""
    position: Tensor
    """Its index in `trajectories[trajectory].tokens`, int64, at least 1: it was predicted from `position - 1`."""
    groups: tuple[Group, ...]
    """All groups of the step, those included of which nothing was kept."""
    trajectories: tuple[Trajectory, ...]
    """The kept trajectories, group after group."""
    group_of: tuple[int, ...]
    """For each of `trajectories` the index of its group in `groups`."""

    @classmethod
    def build(cls, groups: Sequence[Group], advantages: Sequence[NDArray[np.float64]]) -> TokenTable:
        """Make the table from groups and from the advantages of their kept trajectories, one array each, in order.

        Raises `ValueError` when an array does not fit its trajectory or a number cannot be trained on.
        """
        import torch

        kept = tuple((g, t) for g, group in enumerate(groups) for t in group.kept)
        if len(advantages) != len(kept):
            raise ValueError(
                f"got advantages for {len(advantages)} trajectories, expected one for each of {len(kept)} kept"
            )
        parts = [sampled_rows(i, t, a) for i, ((_, t), a) in enumerate(zip(kept, advantages, strict=True))]
        nothing = [np.empty(0, dtype) for dtype in COLUMNS]
        columns = [torch.from_numpy(np.concatenate(c)) for c in zip(nothing, *parts, strict=True)]
        token, sampler_logprob, advantage, span, trajectory, turn, position = columns
        return cls(
            token=token,
            sampler_logprob=sampler_logprob,
            old_logprob=torch.full_like(sampler_logprob, torch.nan),
            advantage=advantage,
            span=span,
            trajectory=trajectory,
            turn=turn,
            position=position,
            groups=tuple(groups),
            trajectories=tuple(t for _, t in kept),
            group_of=tuple(g for g, _ in kept),
        )

    def __len__(self) -> int:
        return len(self.token)

    def at(self, rows: Tensor) -> TokenTable:
        """Return the table of some rows, given as indices or as a mask; trajectories and groups stay the same."""
        return self._each(lambda column: column[rows])

    def to(self, device: torch.device | str) -> TokenTable:
        """Return the table with its tensors on a device."""
        return self._each(lambda column: column.to(device))

    def rows_of(self, trajectories: Iterable[int]) -> Tensor:
        """Return the indices of the rows of some trajectories, ascending, int64."""
        import torch

        wanted = torch.tensor(sorted(trajectories), dtype=torch.int64, device=self.token.device)
        return torch.isin(self.trajectory, wanted).nonzero().squeeze(1)

    def positions(self) -> dict[int, list[int]]:
        """Return for each trajectory that has rows the positions of its rows; both in the order of the rows."""
        positions: dict[int, list[int]] = {}
        for trajectory, position in zip(self.trajectory.tolist(), self.position.tolist(), strict=True):
            positions.setdefault(trajectory, []).append(position)
        return positions

    def _each(self, change: Callable[[Tensor], Tensor]) -> TokenTable:
        import torch

        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in columns.items() if isinstance(v, torch.Tensor)}
        return replace(self, **changed)


COLUMNS = (np.int64, np.float32, np.float32, np.int8, np.int64, np.int64, np.int64)


def sampled_rows(index: int, trajectory: Trajectory, advantage: NDArray[np.float64]) -> list[NDArray[np.generic]]:
    """Return token, log-probability, advantage, span, index, turn and position of each sampled token of a trajectory.

    Raises `ValueError` when the advantages do not fit it or a number cannot be trained on.
    """
    where = f"trajectory {index} (question {trajectory.question.id!r})"
    advantage = np.asarray(advantage)
    if advantage.shape != (trajectory.sampled,):
        raise ValueError(
            f"{where}: got advantages of shape {advantage.shape}, expected one number for each of "
            f"{trajectory.sampled} sampled tokens"
        )
    if (far := np.abs(advantage) > LARGEST).any():
        raise ValueError(
            f"{where}: got an advantage of {advantage[far][0]:g}, expected finite numbers of at most {LARGEST:g}, "
            "or NaN for tokens never credited"
        )
    starts = accumulate((len(s.tokens) for s in trajectory.segments), initial=0)
    actions = [(start, s) for start, s in zip(starts, trajectory.segments, strict=False) if s.role == "model"]
    tokens = [t for _, s in actions for t in s.tokens]
    logprobs = [p for _, s in actions for p in s.logprobs]
    spans = [int(k) for _, s in actions for k in s.spans]
    turns = [turn for turn, (_, s) in enumerate(actions) for _ in s.tokens]
    positions = [start + i for start, s in actions for i in range(len(s.tokens))]
    if positions and positions[0] == 0:
        raise ValueError(f"{where}: its first token was sampled from nothing, expected a prompt segment before it")
    if not np.isfinite(logprobs).all():
        raise ValueError(f"{where}: got a log-probability that is not finite, expected the one it was sampled with")
    columns = (tokens, logprobs, advantage, spans, [index] * len(tokens), turns, positions)
    return [np.asarray(c, dtype) for c, dtype in zip(columns, COLUMNS, strict=True)]

"""A critic: what a state is worth, read off a copy of the policy by one linear unit and learned by regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdsearch.contracts.credit import Numbers
from sdsearch.core.trajectory import Group, kept
from sdsearch.policy.batching import Row, row_batches
from sdsearch.policy.policy import Policy


class Critic:
    """V(state) of a trajectory's states; weights of its own, which start as the policy's with a unit of zeros on top.

    PPO's critic as verl and Search-R1 train it: a second model with an optimiser and a larger learning rate of its own.
    """

    def __init__(
        self,
        policy: Policy,
        learning_rate: float,
        max_grad_norm: float,
        total: Callable[[Tensor], Tensor] = lambda value: value,
        attempt: Callable[[Callable[[], float]], float] = lambda work: work(),
    ) -> None:
        """Copy the policy's decoder.

        `total` sums a tensor over all processes; `attempt` does this process's work, and fails in all where one fails.
        """
        self.max_grad_norm, self.total, self.attempt = max_grad_norm, total, attempt
        self.twin = policy.twin()
        # What stands for the head is a plain projection of the same hidden states, so that `Policy.logits` serves.
        self.twin.temperature, self.twin.scale, self.twin.cap = 1.0, 1.0, None
        width = policy.head.weight.shape[1]
        unit = torch.nn.Linear(width, 1, dtype=policy.head.weight.dtype, device=policy.device)
        torch.nn.init.zeros_(unit.weight)
        torch.nn.init.zeros_(unit.bias)
        self.twin.head = unit
        self.parameters = [*self.twin.decoder.parameters(), *unit.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, weight_decay=0.0)

    def values(self, groups: Sequence[Group], budget: int) -> Numbers:
        """Return the value of the state before each sampled token and after all of them, [sampled + 1] a trajectory."""
        self.twin.model.eval()
        values: Numbers = []
        with torch.no_grad():
            for rows in _batches(groups, budget):
                outputs = self.twin.logits(*zip(*rows, strict=True)).squeeze(1).cpu().double()
                values += [v.numpy() for v in torch.split(outputs, [len(at) for _, _, at in rows])]
        return values

    def learn(self, groups: Sequence[Group], targets: Numbers, budget: int) -> float:
        """Take one step on the mean squared error of the states before sampled tokens; NaN: no target. Returns it.

        Without dropout, as it is asked. With several processes the mean is over all of them, and every critic takes the
        same step.
        """
        count = torch.tensor(sum(int((~np.isnan(t)).sum()) for t in targets), device=self.twin.device)
        count = self.total(count).clamp_min(1)
        error = self.attempt(lambda: self.descend(groups, targets, count, budget))
        for parameter in self.parameters:
            parameter.grad = self.total(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return error

    def descend(self, groups: Sequence[Group], targets: Numbers, count: Tensor, budget: int) -> float:
        """Add this process's part to the gradients, of a mean over `count` states; return its part of the error."""
        self.twin.model.eval()
        error, done = 0.0, 0
        for rows in _batches(groups, budget):
            values = self.twin.logits(*zip(*rows, strict=True)).squeeze(1)
            wanted = [np.append(t, np.nan) for t in targets[done : done + len(rows)]]
            target = torch.from_numpy(np.concatenate(wanted)).to(values)
            known = ~target.isnan()
            loss = (values[known] - target[known]).square().sum() / count
            loss.backward()  # type: ignore[no-untyped-call]
            error, done = error + float(loss.detach()), done + len(rows)
        return error

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser, for a checkpoint."""
        return {
            "decoder": self.twin.decoder.state_dict(),
            "unit": self.twin.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them from a checkpoint."""
        self.twin.decoder.load_state_dict(state["decoder"])
        self.twin.head.load_state_dict(state["unit"])
        self.optimizer.load_state_dict(state["optimizer"])


def _batches(groups: Sequence[Group], budget: int) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for trajectory in kept(groups):
        at, start = [], 0
        for segment in trajectory.segments[1:]:
            at += [start + i for i in range(len(segment.logprobs))]
            start += len(segment.tokens)
        rows.append(
            (trajectory.segments[0].tokens, [t for s in trajectory.segments[1:] for t in s.tokens], [*at, start])
        )
    return row_batches(rows, budget)

"""Weights as they were before a step of several updates: one that fails amid it leaves them as if it never began."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from sdsearch.policy.memory import OPTIMISER, SHARE, free

Kept = list[tuple[Tensor, Tensor]]


class Rollback:
    """A copy, in the memory of the CPU, of all that optimisers move; and of other tensors that move in place."""

    @staticmethod
    def fits(optimizers: Sequence[Optimizer]) -> bool:
        """Say whether the copy takes a small part of the memory: a large model's would cost more than it saves."""
        weights = [p for o in optimizers for group in o.param_groups for p in group["params"] if p.requires_grad]
        taken = OPTIMISER * sum(p.numel() * p.element_size() for p in weights)
        return bool(taken <= SHARE * free(torch.device("cpu")))

    def __init__(self, optimizers: Sequence[Optimizer], others: Sequence[Tensor] = ()) -> None:
        """Copy the parameters that may move, the optimisers' averages, and the others."""
        self.optimizers = optimizers
        moving = [p for o in optimizers for group in o.param_groups for p in group["params"] if p.requires_grad]
        averages = [v for o in optimizers for state in o.state.values() for v in state.values()]
        tensors = [*moving, *averages, *others]
        self.kept: Kept = [(t, t.detach().to("cpu", copy=True)) for t in tensors if isinstance(t, Tensor)]
        self.stepped = [set(o.state) for o in optimizers]

    @torch.no_grad()
    def back(self) -> None:
        """Put everything back where it was: in place, as memory may be what was lacking."""
        for optimizer, stepped in zip(self.optimizers, self.stepped, strict=True):
            optimizer.zero_grad()
            for parameter in set(optimizer.state) - stepped:
                del optimizer.state[parameter]
        for tensor, before in self.kept:
            tensor.copy_(before)

"""The gradient of each term by itself: which part of the objective moves the weights, and how hard.

Losses do not tell: a small divergence may have a steep gradient. The terms' gradients are taken from the graph that the
update itself uses, so that the same micro-batches and the same teacher are measured, and the update
stays what it is, bit for bit. The price is one more backward pass and one more copy of the gradient for each term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from sdsearch.learning.loss import StepLoss


class Gradients:
    """The gradients of the terms of one update, summed over its micro-batches."""

    def __init__(self, step_loss: StepLoss, parameters: Iterable[Parameter]) -> None:
        """Begin with zeros."""
        self.step_loss = step_loss
        self.parameters = [p for p in parameters if p.requires_grad]
        self.sums = {part.name: [torch.zeros_like(p) for p in self.parameters] for part in step_loss.parts}

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Add the gradients of `StepLoss.losses`; their graph stays, for the backward pass of their sum."""
        for name, loss in losses.items():
            if loss.requires_grad:
                new = torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
                self.sums[name] = [s if n is None else s + n for s, n in zip(self.sums[name], new, strict=True)]

    def figures(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return "grad_norm/<term>", the norm of what the term, times its weight, adds to the gradient.

        And "grad_ratio/<term>" for each term with a hint: its norm divided by that of the policy gradient (of several,
        by the sum of theirs); left out where the policy gradient is zero. `total` sums a tensor over all processes.
        """
        norms: dict[str, float] = {}
        for name, gradients in self.sums.items():
            norms[name] = float(get_total_norm([total(g) for g in gradients]))
        base = sum(norms[part.name] for part in self.step_loss.parts if part.term.follows_credit)
        hinted = [part.name for part in self.step_loss.parts if part.selection.hints is not None and base]
        return {f"grad_norm/{n}": v for n, v in norms.items()} | {f"grad_ratio/{n}": norms[n] / base for n in hinted}

"""The gradient of each term by itself: which part of the objective moves the weights, and how hard.

Losses do not tell: a small divergence may have a steep gradient. The terms' gradients are taken from the graph that the
update itself uses, so that the same micro-batches, the same dropout and the same teacher are measured, and the update
stays what it is, bit for bit. The price is one more backward pass and one more copy of the gradient for each term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from sdsearch.plan import Plan


class Gradients:
    """The gradients of the terms of one update, summed over its micro-batches."""

    def __init__(self, plan: Plan, parameters: Iterable[Parameter]) -> None:
        """Begin with zeros."""
        self.plan = plan
        self.parameters = [p for p in parameters if p.requires_grad]
        self.found = {planned.name: [torch.zeros_like(p) for p in self.parameters] for planned in plan.terms}

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Add the gradients of `Plan.losses`; their graph stays, for the backward pass of their sum."""
        for name, loss in losses.items():
            if loss.requires_grad:
                new = torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
                self.found[name] = [f if n is None else f + n for f, n in zip(self.found[name], new, strict=True)]

    def figures(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Return "grad_norm/<term>", the norm of what the term, times its weight, adds to the gradient.

        And "grad_ratio/<term>" for each term with a hint: its norm divided by that of the policy gradient (of several,
        by the sum of theirs); left out where the policy gradient is zero. `reduce` sums a tensor over all processes.
        """
        norms: dict[str, float] = {}
        for name, found in self.found.items():
            norms[name] = float(get_total_norm([reduce(g) for g in found] if reduce else found))
        base = sum(norms[planned.name] for planned in self.plan.terms if planned.term.follows_credit)
        hinted = [planned.name for planned in self.plan.terms if planned.selection.hints is not None and base]
        return {f"grad_norm/{n}": v for n, v in norms.items()} | {f"grad_ratio/{n}": norms[n] / base for n in hinted}

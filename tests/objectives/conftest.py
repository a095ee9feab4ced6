"""Rows to evaluate terms on, made from nothing but probabilities."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from sdsearch.objective import Rows
from sdsearch.tokens import TokenTable
from sdsearch.trajectory import Group, Segment, Span, Trajectory
from sdsearch.types import Question

MakeRows = Callable[..., Rows]


@pytest.fixture
def rows_of() -> MakeRows:
    """Return a builder of rows: the probability of token 0 now, when sampled and for the teacher; vocabulary of two."""

    def build(
        now: Sequence[float],
        then: Sequence[float] | None = None,
        credit: Sequence[float] | None = None,
        teacher: Sequence[float] | None = None,
    ) -> Rows:
        n = len(now)
        question = Question("q", "Where?", ("here",))
        sampled = tuple(np.log(now if then is None else then).tolist())
        segments = (Segment("prompt", "p", (1,)), Segment("model", "", (0,) * n, sampled, (Span.QUERY,) * n))
        group = Group(question, (Trajectory(question, segments, (), "answered", 0.0),))
        table = TokenTable.build([group], [np.ones(n) if credit is None else np.array(credit)])
        taught = None if teacher is None else two(teacher)
        return Rows(table, two(now).requires_grad_(), taught)

    return build


def two(probabilities: Sequence[float]) -> Tensor:
    """Return logits over two tokens, the first of which has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (-p).log1p()], 1).float()

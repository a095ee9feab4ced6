from collections.abc import Callable

import numpy as np
import pytest
import torch

from sdsearch.contracts.loss import LossInput
from sdsearch.objectives.terms.entropy import Entropy
from sdsearch.testing import example_table

MakeRows = Callable[..., LossInput]


def test_selects_every_sampled_token() -> None:
    assert Entropy().select(example_table(), 0).rows.all()


def test_by_hand(rows_of: MakeRows) -> None:
    loss = Entropy().loss(rows_of([0.5, 0.9, 0.1])).loss
    assert loss.tolist() == pytest.approx([-np.log(2), -0.325083, -0.325083], abs=1e-5)


def test_descent_flattens(rows_of: MakeRows) -> None:
    rows = rows_of([0.9, 0.1, 0.5])
    (found,) = torch.autograd.grad(Entropy().loss(rows).loss.sum(), rows.logits)
    assert found[0, 0] > 0 > found[0, 1]
    assert found[1, 0] < 0 < found[1, 1]
    assert found[2].tolist() == pytest.approx([0, 0], abs=1e-7)

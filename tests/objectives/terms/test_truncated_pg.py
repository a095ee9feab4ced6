from collections.abc import Callable

import pytest
import torch

from sdsearch.objective import Rows
from sdsearch.objectives.terms.truncated_pg import TruncatedPG
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., Rows]


def test_contract() -> None:
    check_term(TruncatedPG())


def test_selects_what_was_ever_credited() -> None:
    table = example_table()
    table.credit[0] = 0.0
    assert TruncatedPG().select(table, 0).rows.tolist() == (~table.credit.isnan()).tolist()


def test_gradient_by_hand(rows_of: MakeRows) -> None:
    """Ratios 1, 1.5, 4, 4, 0.5; the gradient is -min(ratio, 2) * credit * (1 - p) by the token's own logit."""
    rows = rows_of([0.2, 0.3, 0.4, 0.4, 0.1], [0.2, 0.2, 0.1, 0.1, 0.2], [1.0, 1.0, 1.0, -1.0, 1.0])
    loss, metrics = TruncatedPG(cap=2.0).values(rows)
    (found,) = torch.autograd.grad(loss.sum(), rows.logits)
    assert found[:, 0].tolist() == pytest.approx([-0.8, -1.05, -1.2, 1.2, -0.45], rel=1e-5)
    assert metrics["clipped"].tolist() == [0, 0, 1, 1, 0]

from collections.abc import Callable

import pytest
import torch

from sdsearch.objective import Rows
from sdsearch.objectives.terms.cispo import CISPO
from sdsearch.objectives.terms.truncated_pg import TruncatedPG
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., Rows]


@pytest.mark.parametrize("term", [CISPO(), CISPO(clip=0.2, clip_high=0.28)])
def test_contract(term: CISPO) -> None:
    check_term(term)


def test_selects_what_was_ever_credited() -> None:
    table = example_table()
    table.credit[0] = 0.0
    assert CISPO().select(table, 0).rows.tolist() == (~table.credit.isnan()).tolist()


@pytest.mark.parametrize(
    ("term", "ratios", "clipped"),
    [
        (CISPO(clip_high=0.28), [1.0, 1.28, 1.28, 0.5], [0, 1, 1, 0]),
        (CISPO(clip=0.2, clip_high=0.28), [1.0, 1.28, 1.28, 0.8], [0, 1, 1, 1]),
        (CISPO(), [1.0, 2.0, 2.0, 0.5], [0, 0, 0, 0]),
    ],
)
def test_gradient_by_hand(rows_of: MakeRows, term: CISPO, ratios: list[float], clipped: list[int]) -> None:
    """Ratios 1, 2, 2, 1/2; the gradient is -clipped ratio * credit * (1 - p), however far the policy has moved."""
    rows = rows_of([0.2, 0.4, 0.4, 0.1], [0.2] * 4, [1.0, 1.0, -1.0, 1.0])
    loss, metrics = term.values(rows)
    (found,) = torch.autograd.grad(loss.sum(), rows.logits)
    factors = [-0.8, -0.6, 0.6, -0.9]
    assert found[:, 0].tolist() == pytest.approx([r * f for r, f in zip(ratios, factors, strict=True)], rel=1e-5)
    assert metrics["clipped"].tolist() == clipped


def test_open_below_it_is_the_truncated_gradient(rows_of: MakeRows) -> None:
    rows = rows_of([0.2, 0.9, 0.4, 0.1], [0.2, 0.1, 0.1, 0.2], [1.0, 1.0, -1.0, 1.0])
    assert torch.equal(CISPO(clip_high=1.0).values(rows).loss, TruncatedPG(cap=2.0).values(rows).loss)

from collections.abc import Callable

import pytest
import torch

from sdsearch.contracts.loss import LossInput
from sdsearch.crediting.policy_gradient import PolicyGradient
from sdsearch.objectives.terms.cispo import CISPO
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.gspo import GSPO
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., LossInput]


@pytest.mark.parametrize("term", [CISPO(), CISPO(clip=0.2, clip_high=0.28)])
def test_contract(term: CISPO) -> None:
    check_term(term)


def test_selects_what_was_ever_credited() -> None:
    table = example_table()
    table.advantage[0] = 0.0
    assert CISPO().select(table, 0).rows.tolist() == (~table.advantage.isnan()).tolist()


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
    loss, metrics = term.loss(rows)
    (found,) = torch.autograd.grad(loss.sum(), rows.logits)
    factors = [-0.8, -0.6, 0.6, -0.9]
    assert found[:, 0].tolist() == pytest.approx([r * f for r, f in zip(ratios, factors, strict=True)], rel=1e-5)
    assert metrics["clipped"].tolist() == clipped


@pytest.mark.parametrize("term", [CISPO, ClippedPG, GSPO])
def test_a_correction_of_what_the_sampler_reported(rows_of: MakeRows, term: type[PolicyGradient]) -> None:
    """Old / sampler is 1, 1.5, 4, 4, 0.5, counted up to 2; the gradient is -that * credit * (1 - p)."""
    now = [0.2, 0.3, 0.4, 0.4, 0.1]
    rows = rows_of(now, now, [1.0, 1.0, 1.0, -1.0, 1.0], sampler=[0.2, 0.2, 0.1, 0.1, 0.2])
    loss, metrics = term(correction=2.0).loss(rows)
    (found,) = torch.autograd.grad(loss.sum(), rows.logits, retain_graph=True)
    assert found[:, 0].tolist() == pytest.approx([-0.8, -1.05, -1.2, 1.2, -0.45], rel=1e-5)
    assert metrics["clipped"].tolist() == [0.0] * 5, "a clip bounds how far the policy has moved, and it has not"
    (plain,) = torch.autograd.grad(term().loss(rows).loss.sum(), rows.logits)
    assert plain[:, 0].tolist() == pytest.approx([-0.8, -0.7, -0.6, 0.6, -0.9], rel=1e-5)

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from sdsearch.contracts.loss import LossInput
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., LossInput]


def gradient(term: ClippedPG, rows: LossInput) -> list[float]:
    """Return the derivative of each row's loss by the logit of its sampled token."""
    (found,) = torch.autograd.grad(term.loss(rows).loss.sum(), rows.logits)
    return [float(g) for g in found[:, 0]]


@pytest.mark.parametrize("term", [ClippedPG(), ClippedPG(clip_high=0.28, normalise="trajectory")])
def test_contract(term: ClippedPG) -> None:
    check_term(term)


def test_selects_what_was_ever_credited() -> None:
    table = example_table()
    table.advantage[0] = 0.0  # credited with nothing: counts in the mean
    rows, teacher, hints, over = ClippedPG().select(table, 0)
    assert rows[0]
    assert rows.tolist() == (~table.advantage.isnan()).tolist()
    assert (teacher, hints, over) == (None, None, None)


def test_loss_by_hand(rows_of: MakeRows) -> None:
    """Ratios 1, 1.1, 2, 2, 0.5, 0.5, with credit of either sign."""
    rows = rows_of([0.2, 0.22, 0.4, 0.4, 0.1, 0.1], [0.2] * 6, [3.0, 3.0, 1.0, -1.0, 1.0, -1.0])
    loss, metrics = ClippedPG(clip=0.2).loss(rows)
    assert loss.tolist() == pytest.approx([-3.0, -3.3, -1.2, 2.0, -0.5, 0.8], rel=1e-5)
    assert metrics["clipped"].tolist() == [0, 0, 1, 0, 0, 1]
    assert metrics["log_ratio"].tolist() == pytest.approx(
        [0, 0.09531, 0.693147, 0.693147, 0.693147, 0.693147], abs=1e-5
    )
    assert metrics["entropy"][0].item() == pytest.approx(0.500402, abs=1e-5)


def test_clip_high(rows_of: MakeRows) -> None:
    rows = rows_of([0.4, 0.4, 0.1, 0.1], [0.2] * 4, [1.0, -1.0, 1.0, -1.0])
    assert ClippedPG(clip=0.2, clip_high=0.28).loss(rows).loss.tolist() == pytest.approx([-1.28, 2.0, -0.5, 0.8])


def test_descent_raises_what_deserves_it(rows_of: MakeRows) -> None:
    """On the sampling policy the gradient is -credit * d log p: -credit * (1 - p) by the token's own logit."""
    rows = rows_of([0.25, 0.25, 0.25], credit=[2.0, -2.0, 0.0])
    assert gradient(ClippedPG(), rows) == pytest.approx([-1.5, 1.5, 0.0], abs=1e-6)


def test_no_gradient_once_clipped(rows_of: MakeRows) -> None:
    rows = rows_of([0.4, 0.4, 0.1, 0.1], [0.2] * 4, [1.0, -1.0, 1.0, -1.0])
    found = gradient(ClippedPG(), rows)
    assert (found[0], found[3]) == (0.0, 0.0)
    assert found[1] > 0 > found[2]


def test_a_huge_ratio_does_not_overflow(rows_of: MakeRows) -> None:
    rows = rows_of([0.5] * 2, [0.5] * 2, [1.0, -1.0])
    table = rows.table.at(torch.arange(2))
    table.old_logprob.copy_(torch.tensor([-1e4, -1e4]))
    loss, metrics = ClippedPG().loss(rows._replace(table=table))
    assert loss.isfinite().all()
    assert metrics["log_ratio"].isfinite().all()
    assert all(abs(g) < float("inf") for g in gradient(ClippedPG(), rows._replace(table=table)))


@pytest.mark.parametrize("settings", [{"clip": 0}, {"clip": 1}, {"clip_high": 0}, {"clip": "x"}])
def test_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClippedPG.model_validate(settings)

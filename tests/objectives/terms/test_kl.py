from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from sdsearch.contracts.loss import LossInput
from sdsearch.objectives.terms.kl import KL, estimate
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., LossInput]
ESTIMATORS = ("k1", "k2", "k3", "full")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_contract(estimator: str) -> None:
    check_term(KL.model_validate({"estimator": estimator}))


@pytest.mark.parametrize("teacher", ["frozen", "ema"])
def test_selects_every_sampled_token(teacher: str) -> None:
    rows, named, hints, over = KL.model_validate({"teacher": teacher}).select(example_table(), 0)
    assert rows.all()
    assert (named, hints, over) == (teacher, None, None)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # The policy gives the sampled token 0.5 and the reference 0.25, then 0.75: r = -ln 2, then ln 1.5.
        ("k1", [0.693147, -0.405465]),
        ("k2", [0.240227, 0.082201]),
        ("k3", [0.193147, 0.094535]),
        ("full", [0.143841, 0.143841]),
    ],
)
def test_by_hand(rows_of: MakeRows, estimator: str, expected: list[float]) -> None:
    term = KL.model_validate({"estimator": estimator})
    loss = term.loss(rows_of([0.5, 0.5], teacher=[0.25, 0.75])).loss
    assert loss.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("estimator", ["k2", "k3", "full"])
def test_descent_approaches_the_reference(rows_of: MakeRows, estimator: str) -> None:
    """The sign that is often wrong: a token that the reference likes less must become less probable, and conversely."""
    rows = rows_of([0.5, 0.5, 0.5], teacher=[0.2, 0.8, 0.5])
    (found,) = torch.autograd.grad(KL.model_validate({"estimator": estimator}).loss(rows).loss.sum(), rows.logits)
    assert found[0, 0] > 0 > found[1, 0]
    assert found[2, 0].item() == pytest.approx(0, abs=1e-6)


def expected_gradient(estimator: Literal["k1", "k2", "k3"], logits: Tensor, reference: Tensor) -> Tensor:
    """Return the mean over tokens sampled from the policy of the gradient of the estimate."""
    logprobs = logits.log_softmax(0)
    loss = (logprobs.detach().exp() * estimate(logprobs, reference.log_softmax(0), estimator)).sum()
    (found,) = torch.autograd.grad(loss, logits)
    return found


def test_mean_gradients_are_as_documented() -> None:
    logits, reference = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    p, q = logits.log_softmax(0), reference.log_softmax(0)
    (reverse,) = torch.autograd.grad((p.exp() * (p - q)).sum(), logits, retain_graph=True)
    (forward,) = torch.autograd.grad((q.exp() * (q - p)).sum(), logits)
    assert torch.allclose(expected_gradient("k1", logits, reference), torch.zeros(6), atol=1e-6)
    assert torch.allclose(expected_gradient("k2", logits, reference), reverse, atol=1e-6)
    assert torch.allclose(expected_gradient("k3", logits, reference), forward, atol=1e-6)


def test_estimates_are_unbiased() -> None:
    logits, reference = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    exact = (logits.exp() * (logits - reference)).sum().item()
    assert (logits.exp() * estimate(logits, reference, "k1")).sum().item() == pytest.approx(exact, abs=1e-6)
    assert (logits.exp() * estimate(logits, reference, "k3")).sum().item() == pytest.approx(exact, abs=1e-6)


def test_k3_does_not_overflow() -> None:
    found = estimate(torch.tensor([-1e4, 0.0, -3.0]), torch.tensor([0.0, -1e4, -3.0]), "k3")
    assert found.isfinite().all()
    assert (found >= 0).all()

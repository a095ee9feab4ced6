"""The gradient of each term by itself: by hand, against the whole, and without a trace in the update."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.learning.gradients import Gradients
from sdsearch.learning.loss import StepLoss
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.objectives.terms.entropy import Entropy
from sdsearch.testing import VOCABULARY, example_table


class Logit(Term):
    """Has the logit of one token as its loss, on every row."""

    of: int

    def select(self, table: object, seed: int) -> Selection:
        return Selection(torch.ones(len(example_table()), dtype=torch.bool))

    def loss(self, rows: LossInput) -> LossOutput:
        return LossOutput(rows.logits[:, self.of], {})


class Credited(Logit):
    follows_credit: ClassVar[bool] = True


class Hinted(Logit):
    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"live"})

    def select(self, table: object, seed: int) -> Selection:
        rows = super().select(table, seed).rows
        return Selection(rows, "live", ["a hint"] * len(example_table().trajectories))


def alone(gradient: Tensor) -> Tensor:
    """Sum a gradient over one process."""
    return gradient


def measured(*terms: Term, parts: int = 1) -> tuple[Gradients, list[torch.nn.Parameter]]:
    """Take the gradients of a linear model in so many parts, and do the backward passes of the update."""
    torch.manual_seed(0)
    step_loss = StepLoss.of(example_table(), terms, 0, 0)
    model = torch.nn.Linear(4, VOCABULARY)
    features, taught = torch.randn(len(step_loss.table), 4), torch.randn(len(step_loss.table), VOCABULARY)

    def teacher(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        return taught[index]

    gradients = Gradients(step_loss, model.parameters())
    for part in torch.arange(len(step_loss.table)).tensor_split(parts):
        losses, _ = step_loss.losses(part, lambda index: model(features[index]), teacher)
        gradients.see(losses)
        torch.autograd.backward(torch.stack([*losses.values()]).sum())
    return gradients, list(model.parameters())


def test_by_hand() -> None:
    table = replace(example_table(), advantage=torch.ones(len(example_table())))
    terms = [Credited(of=0, weight=4), Logit(of=1, weight=3), Hinted(of=2, weight=0.5)]
    step_loss = StepLoss.of(table, terms, 0, 0)
    credited, plain, hinted = (part.name for part in step_loss.parts)
    # Every row has the same logits, so the gradient of a mean logit is one unit vector, times the weight of the term.
    logits = torch.nn.Parameter(torch.zeros(VOCABULARY))
    gradients = Gradients(step_loss, [logits])
    for part in torch.arange(len(table)).tensor_split(7):
        nothing = torch.zeros(len(part), VOCABULARY)
        losses, _ = step_loss.losses(part, lambda index: logits.expand(len(index), -1), lambda *_, n=nothing: n)
        gradients.see(losses)
    assert gradients.figures(alone) == pytest.approx(
        {f"grad_norm/{credited}": 4, f"grad_norm/{plain}": 3, f"grad_norm/{hinted}": 0.5, f"grad_ratio/{hinted}": 0.125}
    )
    assert logits.grad is None


@pytest.mark.parametrize("parts", [1, 3])
def test_a_single_term_has_the_gradient_of_the_update(parts: int) -> None:
    gradients, parameters = measured(ClippedPG(), parts=parts)
    norm = float(get_total_norm([p.grad for p in parameters if p.grad is not None]))
    assert gradients.figures(alone) == {"grad_norm/clipped_pg": norm}
    assert gradients.figures(alone)["grad_norm/clipped_pg"] > 0


def test_the_terms_add_up_to_the_update() -> None:
    gradients, parameters = measured(
        ClippedPG(), Entropy(weight=0.3), Distill(hint=Hindsight(), top_k=5, weight=0.7), parts=4
    )
    for i, parameter in enumerate(parameters):
        total = torch.stack([f[i] for f in gradients.sums.values()]).sum(0)
        torch.testing.assert_close(total, parameter.grad)
    figures = gradients.figures(alone)
    ratio = figures["grad_norm/distill"] / figures["grad_norm/clipped_pg"]
    assert figures["grad_ratio/distill"] == pytest.approx(ratio)
    assert ratio > 0


def test_no_ratio_to_a_policy_gradient_that_is_zero() -> None:
    gradients, _ = measured(Credited(of=0, weight=1e-50), Hinted(of=1))
    assert not [n for n in gradients.figures(alone) if n.startswith("grad_ratio")]


def test_processes_are_summed_before_the_norm() -> None:
    gradients, _ = measured(ClippedPG())
    one = gradients.figures(alone)["grad_norm/clipped_pg"]
    assert gradients.figures(lambda gradient: 3 * gradient)["grad_norm/clipped_pg"] == pytest.approx(3 * one)

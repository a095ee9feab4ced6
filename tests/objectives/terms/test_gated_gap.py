from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sdsearch.config.catalogue import SPECS
from sdsearch.contracts.loss import LossInput
from sdsearch.core.trajectory import Span
from sdsearch.errors import SpecError
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.gated_gap import GatedGap
from sdsearch.spec import load
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., LossInput]


def gated(**settings: Any) -> GatedGap:
    return GatedGap.model_validate({"hint": "hindsight", **settings})


@pytest.mark.parametrize("settings", [{}, {"rows": "query", "sharpness": 0}, {"hint": None, "teacher": "frozen"}])
def test_contract(settings: dict[str, Any]) -> None:
    check_term(gated(**settings))


def test_defaults_are_the_source() -> None:
    term = gated()
    assert (term.sharpness, term.weight, term.rows, term.normalise) == (5.0, 0.01, "policy", "token")


def test_losses_and_gradients_by_hand(rows_of: MakeRows) -> None:
    """The teacher finds the token twice, half and just as likely: gates of 1 / (1 + 2^-5), 1 / (1 + 2^5) and 1/2."""
    now, teacher = [0.4, 0.4, 0.4], [0.8, 0.2, 0.4]
    rows = rows_of(now, teacher=teacher)
    output = gated().loss(rows)
    gates = [1 / (1 + 2**-5), 1 / (1 + 2**5), 0.5]
    gaps = [log(2), -log(2), 0.0]
    assert output.loss.tolist() == pytest.approx([g * e for g, e in zip(gates, gaps, strict=True)], abs=1e-6)
    assert output.metrics["gap"].tolist() == pytest.approx(gaps, abs=1e-6)
    assert output.metrics["gate"].tolist() == pytest.approx(gates, abs=1e-6)
    assert output.metrics["open"].tolist() == [1, 0, 0]
    (gradient,) = torch.autograd.grad(output.loss.sum(), rows.logits)
    # d log p / d logit of the sampled one of two tokens is 1 - p; the gate has no gradient.
    assert gradient[:, 0].tolist() == pytest.approx([-g * (1 - 0.4) for g in gates], abs=1e-6)


def test_without_sharpness_every_token_is_raised_alike(rows_of: MakeRows) -> None:
    rows = rows_of([0.5, 0.5], teacher=[0.9, 0.1])
    (gradient,) = torch.autograd.grad(gated(sharpness=0).loss(rows).loss.sum(), rows.logits)
    assert gradient[:, 0].tolist() == pytest.approx([-0.25, -0.25])


@pytest.mark.parametrize("rows", ["query", "answer", "think", "policy"])
def test_it_selects_a_span(rows: str) -> None:
    table = example_table()
    selection = gated(rows=rows, teacher="ema").select(table, 3)
    expected = table.span >= 0 if rows == "policy" else table.span == Span[rows.upper()]
    assert selection.rows.tolist() == expected.tolist()
    assert selection.teacher == "ema"
    assert selection.hints == [h for texts in Hindsight().texts(table.groups, 3) for h in texts]
    assert gated(rows=rows, teacher="ema").needs == {"ema"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [("hint: null", "the live teacher is the policy itself"), ("hint: peer_success", "train.group is 1")],
)
def test_senseless_terms_are_refused(settings: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load(
            SPECS / "grpo.yaml",
            ["train.group=1", f"objective={{credit: [], terms: [{{type: gated_gap, {settings}}}]}}"],
        )


def test_a_hint_has_to_be_named_or_left_out_on_purpose() -> None:
    with pytest.raises(ValidationError):
        GatedGap.model_validate({})

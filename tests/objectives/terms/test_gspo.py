from collections.abc import Callable
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.contracts.loss import LossInput, Term
from sdsearch.learning.loss import StepLoss
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.gspo import GSPO
from sdsearch.testing import VOCABULARY, check_term, example_table

MakeRows = Callable[..., LossInput]
WIDE = GSPO(clip=0.5, clip_high=0.5)


def gradient(term: Term, rows: LossInput) -> list[float]:
    """Return the derivative of the summed losses by the logit of each row's sampled token."""
    (found,) = torch.autograd.grad(term.loss(rows).loss.sum(), rows.logits)
    return [float(g) for g in found[:, 0]]


@pytest.mark.parametrize("term", [GSPO(), WIDE])
def test_contract(term: GSPO) -> None:
    check_term(term)


def test_defaults_are_the_paper() -> None:
    term = GSPO()
    assert (term.clip, term.clip_high, term.normalise) == (3e-4, 4e-4, "trajectory")


def test_selects_what_was_ever_credited() -> None:
    table = example_table()
    table.advantage[0] = 0.0
    assert GSPO().select(table, 0).rows.tolist() == (~table.advantage.isnan()).tolist()


def test_one_ratio_for_all_tokens(rows_of: MakeRows) -> None:
    """Ratios 2, 1/2 and 1.728: their product is 1.728, the third root of which is 1.2."""
    rows = rows_of([0.4, 0.1, 0.864], [0.2, 0.2, 0.5], [1.0, 2.0, -1.0])
    loss, metrics = WIDE.loss(rows)
    assert loss.tolist() == pytest.approx([-1.2, -2.4, 1.2], rel=1e-5)
    assert metrics["log_ratio"].tolist() == pytest.approx([log(2), log(2), log(1.728)], rel=1e-5)
    assert metrics["clipped"].tolist() == [0, 0, 0]
    # The derivative is -ratio * credit * (1 - p): each token's own.
    assert gradient(WIDE, rows) == pytest.approx([-0.72, -2.16, 0.1632], rel=1e-4)


def test_no_gradient_once_clipped(rows_of: MakeRows) -> None:
    """The ratio is 1.2: above the clip of 1.1 what deserves more is left alone, what deserves less is not."""
    rows = rows_of([0.4, 0.1, 0.864], [0.2, 0.2, 0.5], [1.0, 2.0, -1.0])
    term = GSPO(clip=0.1, clip_high=0.1)
    loss, metrics = term.loss(rows)
    assert loss.tolist() == pytest.approx([-1.1, -2.2, 1.2], rel=1e-5)
    assert metrics["clipped"].tolist() == [1, 1, 0]
    assert gradient(term, rows) == pytest.approx([0, 0, 0.1632], rel=1e-4)


def test_equal_credit_gives_the_gradient_of_the_sequence(rows_of: MakeRows) -> None:
    rows = rows_of([0.3, 0.15, 0.5], [0.25, 0.2, 0.5], [2.0] * 3)
    sequence = (rows.logprob - rows.table.old_logprob).mean().exp()
    (expected,) = torch.autograd.grad(-2.0 * sequence, rows.logits, retain_graph=True)
    (found,) = torch.autograd.grad(WIDE.loss(rows).loss.mean(), rows.logits)
    assert torch.allclose(found, expected, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_on_the_sampling_policy_it_is_grpo(seed: int) -> None:
    table, dice = example_table(), torch.Generator().manual_seed(seed)
    logits = torch.randn(len(table), VOCABULARY, generator=dice).requires_grad_()
    logprob = logits.detach().log_softmax(1).gather(1, table.token[:, None]).squeeze(1)
    table.old_logprob.copy_(logprob)
    found = []
    for term in (GSPO(), ClippedPG(normalise="trajectory")):
        loss, _ = StepLoss.of(table, [term], 0, 0).loss(torch.arange(len(table)), lambda rows: logits[rows])
        found.append(torch.autograd.grad(loss, logits)[0])
    assert found[0].abs().max() > 1e-3
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_a_huge_ratio_does_not_overflow(rows_of: MakeRows) -> None:
    rows = rows_of([0.5] * 2, [0.5] * 2, [1.0, -1.0])
    table = rows.table.at(torch.arange(2))
    table.old_logprob.copy_(torch.tensor([-1e4, -1e4]))
    assert GSPO().loss(rows._replace(table=table)).loss.isfinite().all()

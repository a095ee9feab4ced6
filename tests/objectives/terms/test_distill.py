from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sdsearch.objective import Rows
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.distill import Distill
from sdsearch.plan import make
from sdsearch.testing import VOCABULARY, check_term, example_table
from sdsearch.trajectory import Span

MakeRows = Callable[..., Rows]


def distill(**settings: Any) -> Distill:
    return Distill.model_validate({"hint": {"type": "hindsight"}, **settings})


@pytest.mark.parametrize("divergence", ["jsd", "forward_kl", "reverse_kl", "mse"])
@pytest.mark.parametrize("support", ["student", "teacher"])
@pytest.mark.parametrize(("top_k", "tail"), [(3, "bucket"), (3, "renormalise"), (3, "drop"), (None, "bucket")])
def test_contract(divergence: str, support: str, top_k: int | None, tail: str) -> None:
    check_term(distill(divergence=divergence, support=support, top_k=top_k, tail=tail))


def test_defaults_are_the_paper() -> None:
    term = distill()
    assert (term.rows, term.divergence, term.beta, term.top_k) == ("query", "jsd", 0.5, 50)
    assert (term.teacher, term.gate, term.normalise) == ("live", "all", "trajectory")
    assert term.hint == Hindsight()


@pytest.mark.parametrize("rows", ["query", "answer", "think"])
def test_selects_one_span(rows: str) -> None:
    table = example_table()
    selection = distill(rows=rows).select(table, 0)
    assert selection.rows.tolist() == (table.span == Span[rows.upper()]).tolist()
    assert selection.teacher == "live"
    assert selection.hints == [h for texts in Hindsight().texts(table.groups, 0) for h in texts]


def test_selects_all_that_was_sampled() -> None:
    assert distill(rows="policy").select(example_table(), 0).rows.all()


@pytest.mark.parametrize(
    ("gate", "correct_by", "groups"),
    [
        # Of the kept trajectories, right by F1 are: 2 of 3, 0 of 2, 1 of 1, -, 1 of 2; by exact match 1 of 3 at first.
        ("all", "f1", {0, 1, 2, 4}),
        ("mixed", "f1", {0, 4}),
        ("mixed", "exact_match", {0, 4}),
        ("has_correct", "f1", {0, 2, 4}),
    ],
)
def test_gate(gate: str, correct_by: str, groups: set[int]) -> None:
    table = example_table()
    hints = distill(gate=gate, correct_by=correct_by).select(table, 0).hints
    assert hints is not None
    assert {g for g, h in zip(table.group_of, hints, strict=True) if h is not None} == groups
    (planned,) = make(table, [("d", distill(gate=gate, rows="policy"), 1.0)], 0).terms
    group_of = torch.tensor(table.group_of)[table.trajectory]
    assert set(group_of[planned.selection.rows].tolist()) == groups


def test_loss_by_hand(rows_of: MakeRows) -> None:
    rows = rows_of([0.5, 0.9], teacher=[0.9, 0.9])
    found = {d: distill(divergence=d).values(rows).loss for d in ("jsd", "forward_kl", "reverse_kl", "mse")}
    assert found["jsd"].tolist() == pytest.approx([0.101749, 0], abs=1e-5)
    assert found["forward_kl"].tolist() == pytest.approx([0.368064, 0], abs=1e-5)
    assert found["reverse_kl"].tolist() == pytest.approx([0.510826, 0], abs=1e-5)
    assert found["mse"].tolist() == pytest.approx([0.32, 0], abs=1e-5)


def test_metrics_by_hand(rows_of: MakeRows) -> None:
    metrics = distill().values(rows_of([0.5, 0.9], teacher=[0.9, 0.5])).metrics
    assert metrics["gap"].tolist() == pytest.approx([0.587787, -0.587787], abs=1e-5)
    assert metrics["entropy_gap"].tolist() == pytest.approx([0.368064, -0.368064], abs=1e-5)
    assert not any(m.requires_grad for m in metrics.values())


@pytest.mark.parametrize("divergence", ["jsd", "forward_kl", "reverse_kl", "mse"])
def test_descent_approaches_the_teacher(rows_of: MakeRows, divergence: str) -> None:
    rows = rows_of([0.5, 0.5, 0.7], teacher=[0.9, 0.1, 0.7])
    (found,) = torch.autograd.grad(distill(divergence=divergence).values(rows).loss.sum(), rows.logits)
    assert found[0, 0] < 0 < found[1, 0]
    assert found[2].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_who_owns_the_support() -> None:
    """The student's top token is 0, the teacher's is 1: the bucket holds the other two."""
    student, teacher = torch.tensor([[0.7, 0.2, 0.1]]).log(), torch.tensor([[0.1, 0.6, 0.3]]).log()
    table = example_table().at(torch.tensor([0]))
    rows = Rows(table._each(lambda c: c.clamp(max=0)), student, teacher)
    by_student = distill(top_k=1, divergence="mse").values(rows).loss
    by_teacher = distill(top_k=1, divergence="mse", support="teacher").values(rows).loss
    assert by_student.item() == pytest.approx(2 * 0.6**2, rel=1e-5)  # (0.7, 0.3) against (0.1, 0.9)
    assert by_teacher.item() == pytest.approx(2 * 0.4**2, rel=1e-5)  # (0.2, 0.8) against (0.6, 0.4)


def test_top_k_of_the_vocabulary_or_more_is_exact() -> None:
    table = example_table()
    student, teacher = torch.randn(2, len(table), VOCABULARY, generator=torch.Generator().manual_seed(0))
    exact = distill(top_k=None).values(Rows(table, student, teacher)).loss
    for k in (VOCABULARY, VOCABULARY + 1, 50):
        assert torch.equal(distill(top_k=k).values(Rows(table, student, teacher)).loss, exact)


@pytest.mark.parametrize("settings", [{"beta": 0}, {"beta": 1}, {"top_k": 0}, {"rows": "markup"}, {"hint": None}])
def test_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        distill(**settings)

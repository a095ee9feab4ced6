from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sdsearch.contracts.credit import Probe
from sdsearch.contracts.hint import Hints
from sdsearch.contracts.loss import LossInput
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Span
from sdsearch.learning.loss import StepLoss
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill, leaks
from sdsearch.policy.logprobs import pick
from sdsearch.testing import VOCABULARY, check_term, example_table, example_trajectory

MakeRows = Callable[..., LossInput]


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
    assert (term.teacher, term.gate, term.normalise, term.over) == ("live", "all", "trajectory", "step")
    assert term.hint == Hindsight()


def one_mixed_beside(alike: int) -> TokenTable:
    """Return the table of a group of a right attempt and a wrong one, and of groups of two wrong ones."""
    groups = []
    for i in range(1 + alike):
        question = Question(f"q{i}", "Where?", ("Paris",))
        plays = [[("search", "x y"), ("answer", "Paris" if not (i or j) else "Rome")] for j in range(2)]
        attempts = tuple(example_trajectory(question, play, float(play[-1][1] == "Paris")) for play in plays)
        groups.append(Group(question, attempts))
    return TokenTable.build(groups, GroupMean().advantages(groups, Probe()).values)


@pytest.mark.parametrize("alike", [0, 1, 3, 7])
def test_what_the_mean_is_over(alike: int) -> None:
    """Two of 2 + 2 n attempts are taught, two query tokens each, and two of the policy gradient's have a signal."""
    table = one_mixed_beside(alike)
    part = 1 / (1 + alike)
    for normalise in ("trajectory", "token"):
        weights = {}
        for over in ("step", "taught"):
            term = distill(gate="mixed", over=over, normalise=normalise)
            weights[over] = StepLoss.of(table, [term], 0, 0).parts[0].row_weight
            selected = StepLoss.of(table, [term], 0, 0).parts[0].selection.rows
        assert weights["step"][selected].tolist() == pytest.approx([part / 4] * 4)
        assert weights["taught"][selected].tolist() == pytest.approx([1 / 4] * 4)
        (gradient,) = StepLoss.of(table, [ClippedPG(normalise=normalise)], 0, 0).parts
        moving = gradient.row_weight[gradient.selection.rows].sum().item()
        assert moving == pytest.approx(part), "the two keep their proportion whatever else is in the step"


def test_the_mean_is_over_attempts_without_a_query_too() -> None:
    """Of eight kept attempts of the example one has no token, and three of the seven others have a query."""
    table = example_table()
    asked = len(set(table.trajectory[table.span == Span.QUERY].tolist()))
    found = {over: StepLoss.of(table, [distill(over=over)], 0, 0).parts[0] for over in ("step", "taught")}
    assert found["taught"].row_weight.sum().item() == pytest.approx(1)
    assert found["step"].row_weight.sum().item() == pytest.approx(asked / 7)
    assert 0 < asked < 7
    for part in found.values():
        assert part.log_weight.sum().item() == pytest.approx(1), "figures are means over what is computed"


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
    (part,) = StepLoss.of(table, [distill(gate=gate, rows="policy")], 0, 0).parts
    group_of = torch.tensor(table.group_of)[table.trajectory]
    assert set(group_of[part.selection.rows].tolist()) == groups


@pytest.mark.parametrize(("correct_by", "wrong"), [("f1", {1, 3, 4, 6}), ("exact_match", {1, 2, 3, 4, 6})])
def test_the_gate_of_wrong_attempts(correct_by: str, wrong: set[int]) -> None:
    """Right are, of eight kept ones, the first (and, by a word, the third), the sixth and the last."""
    table = example_table()
    hints = distill(gate="wrong", correct_by=correct_by).select(table, 0).hints
    assert hints is not None
    assert {i for i, hint in enumerate(hints) if hint is not None} == wrong
    assert len(hints) == 8


def test_loss_by_hand(rows_of: MakeRows) -> None:
    rows = rows_of([0.5, 0.9], teacher=[0.9, 0.9])
    found = {d: distill(divergence=d).loss(rows).loss for d in ("jsd", "forward_kl", "reverse_kl", "mse")}
    assert found["jsd"].tolist() == pytest.approx([0.101749, 0], abs=1e-5)
    assert found["forward_kl"].tolist() == pytest.approx([0.368064, 0], abs=1e-5)
    assert found["reverse_kl"].tolist() == pytest.approx([0.510826, 0], abs=1e-5)
    assert found["mse"].tolist() == pytest.approx([0.32, 0], abs=1e-5)


def test_metrics_by_hand(rows_of: MakeRows) -> None:
    metrics = distill().loss(rows_of([0.5, 0.9], teacher=[0.9, 0.5])).metrics
    assert metrics["gap"].tolist() == pytest.approx([0.587787, -0.587787], abs=1e-5)
    assert metrics["entropy_gap"].tolist() == pytest.approx([0.368064, -0.368064], abs=1e-5)
    assert not any(m.requires_grad for m in metrics.values())


@pytest.mark.parametrize("divergence", ["jsd", "forward_kl", "reverse_kl", "mse"])
def test_descent_approaches_the_teacher(rows_of: MakeRows, divergence: str) -> None:
    rows = rows_of([0.5, 0.5, 0.7], teacher=[0.9, 0.1, 0.7])
    (found,) = torch.autograd.grad(distill(divergence=divergence).loss(rows).loss.sum(), rows.logits)
    assert found[0, 0] < 0 < found[1, 0]
    assert found[2].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_who_owns_the_support() -> None:
    """The student's top token is 0, the teacher's is 1: the bucket holds the other two."""
    student, teacher = torch.tensor([[0.7, 0.2, 0.1]]).log(), torch.tensor([[0.1, 0.6, 0.3]]).log()
    table = example_table().at(torch.tensor([0]))
    first = table._each(lambda c: c.clamp(max=0))
    rows = LossInput(first, student, pick(student, first.token), teacher)
    by_student = distill(top_k=1, divergence="mse").loss(rows).loss
    by_teacher = distill(top_k=1, divergence="mse", support="teacher").loss(rows).loss
    assert by_student.item() == pytest.approx(2 * 0.6**2, rel=1e-5)  # (0.7, 0.3) against (0.1, 0.9)
    assert by_teacher.item() == pytest.approx(2 * 0.4**2, rel=1e-5)  # (0.2, 0.8) against (0.6, 0.4)


def test_top_k_of_the_vocabulary_or_more_is_exact() -> None:
    table = example_table()
    student, teacher = torch.randn(2, len(table), VOCABULARY, generator=torch.Generator().manual_seed(0))
    rows = LossInput(table, student, pick(student, table.token), teacher)
    exact = distill(top_k=None).loss(rows).loss
    for k in (VOCABULARY, VOCABULARY + 1, 50):
        assert torch.equal(distill(top_k=k).loss(rows).loss, exact)


@pytest.mark.parametrize("settings", [{"beta": 0}, {"beta": 1}, {"top_k": 0}, {"rows": "markup"}, {"hint": 3}])
def test_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        distill(**settings)


def test_a_placebo_teaches_the_rows_that_the_real_hint_teaches() -> None:
    table = example_table()
    for gate in ("all", "mixed", "has_correct"):
        (real,), (placebo,) = (
            StepLoss.of(table, [distill(gate=gate, hint=hint)], 0, 0).parts for hint in (Hindsight(), Placebo())
        )
        assert torch.equal(real.selection.rows, placebo.selection.rows)
        assert real.selection.hints != placebo.selection.hints


def gradients(table: TokenTable, term: Distill) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Return the gradient of the student's logits [rows, V], that of the teacher's, and the selected rows."""
    dice = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(len(table), VOCABULARY, generator=dice).requires_grad_() for _ in range(2))
    step_loss = StepLoss.of(table, [term], 0, 0)
    loss, _ = step_loss.loss(torch.arange(len(table)), lambda i: student[i], lambda kind, hints, i: teacher[i])
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    return student.grad, teacher.grad, step_loss.parts[0].selection.rows


@pytest.mark.parametrize("divergence", ["jsd", "forward_kl", "reverse_kl", "mse"])
@pytest.mark.parametrize("support", ["student", "teacher"])
@pytest.mark.parametrize("rows", ["query", "answer", "think", "policy"])
@pytest.mark.parametrize("gate", ["all", "mixed"])
def test_gradient_is_on_the_selected_rows_and_never_the_teachers(
    divergence: str, support: str, rows: str, gate: str
) -> None:
    table = example_table()
    term = distill(divergence=divergence, support=support, rows=rows, gate=gate, top_k=4)
    found, taught, selected = gradients(table, term)
    assert taught is None
    assert 0 < selected.sum() < len(table) or (rows, gate) == ("policy", "all")
    assert torch.equal(found.abs().sum(1) > 0, selected)


def test_rows_without_a_hint_at_their_turn_are_left_out() -> None:
    """The first turn of an attempt that is alone in its group has no past: only later turns are taught."""
    table = example_table()
    term = distill(hint={"type": "hindsight", "include_self": "past_only"}, rows="policy")
    (part,) = StepLoss.of(table, [term], 0, 0).parts
    alone = torch.tensor([table.group_of[t] == 2 for t in table.trajectory.tolist()])
    assert torch.equal(part.selection.rows, ~(alone & (table.turn == 0)))
    found, _, _ = gradients(table, term)
    assert torch.equal(found.abs().sum(1) > 0, part.selection.rows)


def test_too_few_hints_for_the_turns_are_refused() -> None:
    class Short(Hindsight):
        def texts(self, groups: Sequence[Group], seed: int) -> list[list[Any]]:
            return [[("one",)] * len(g.kept) for g in groups]

    with pytest.raises(ValueError, match="got hints for 1 turns, expected one for each of 3"):
        StepLoss.of(example_table(), [distill(hint=Short())], 0, 0)


def test_share_of_hints_that_give_the_answer_away() -> None:
    """Of seven taught trajectories with queries or not, those whose block names New Paris or Paris are counted."""
    table = example_table()
    told: Hints = ["x Paris", None, ("new paris!", "Parish", "?"), *["paris"] * (len(table.trajectories) - 3)]
    found = leaks(table, told)
    assert found.shape == (len(table),)
    for row, trajectory, turn in zip(found.tolist(), table.trajectory.tolist(), table.turn.tolist(), strict=True):
        assert row == {0: 1, 1: 0, 2: float(turn == 0)}.get(trajectory, 1)
    logits = torch.zeros(len(table), VOCABULARY)
    figures = {}
    for shows in (["query"], ["query", "answer"]):
        term = distill(hint={"type": "hindsight", "shows": shows}, rows="policy")
        _, of = StepLoss.of(table, [term], 0, 0).loss(
            torch.arange(len(table)), lambda i: logits[i], lambda kind, hints, i: logits[i]
        )
        figures[len(shows)] = of["distill/answer_in_hint"].item()
    # Six of the seven trajectories that have tokens are in groups whose answers, once told, hold "Paris": all but the
    # two of group 1, which both answered "Rome"; the one without tokens has no rows.
    assert len(table.trajectories) == 8
    assert figures == {1: 0.0, 2: pytest.approx(5 / 7)}

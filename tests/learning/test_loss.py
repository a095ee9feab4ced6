from collections import Counter
from dataclasses import replace
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.contracts.loss import LossInput, LossOutput, Schedule, Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Span
from sdsearch.learning.loss import StepLoss, normaliser
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.cispo import CISPO
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.objectives.terms.entropy import Entropy
from sdsearch.objectives.terms.gspo import GSPO
from sdsearch.objectives.terms.kl import KL
from sdsearch.policy.logprobs import entropy
from sdsearch.testing import VOCABULARY, example_table

TERMS: list[Term] = [
    ClippedPG(normalise="trajectory"),
    KL(weight=0.3),
    Entropy(weight=0.1),
    Distill(hint=Hindsight(), top_k=5, weight=0.7),
]


class Linear(Term):
    """Has the logit of token 0 as its loss, on chosen rows."""

    chosen: tuple[bool, ...]
    hints: tuple[str | None, ...] | None = None
    taught: Teacher | None = None
    over: tuple[bool, ...] | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"live"})

    def select(self, table: TokenTable, seed: int) -> Selection:
        over = None if self.over is None else torch.tensor(self.over)
        return Selection(torch.tensor(self.chosen), self.taught, self.hints, over)

    def loss(self, rows: LossInput) -> LossOutput:
        return LossOutput(rows.logits[:, 0], {"token": rows.table.token.float()})


class Model:
    """Logits as free parameters, a teacher, and what was asked of them."""

    def __init__(self, table: TokenTable) -> None:
        generator = torch.Generator().manual_seed(0)
        self.student = torch.randn(len(table), VOCABULARY, generator=generator).requires_grad_()
        self.weights = torch.randn(len(table), VOCABULARY, generator=generator).requires_grad_()
        self.asked: list[list[int]] = []
        self.taught: list[tuple[str, Hints | None, list[int]]] = []

    def logits(self, index: Tensor) -> Tensor:
        self.asked.append(index.tolist())
        return self.student[index]

    def teacher(self, kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.taught.append((kind, hints, index.tolist()))
        return self.weights[index]

    def gradient(self, loss: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(loss, self.student)
        return found


def step_loss_of(table: TokenTable, *terms: Term, step: int = 0) -> StepLoss:
    return StepLoss.of(table, terms, step, 0)


def everything(table: TokenTable) -> Tensor:
    return torch.arange(len(table))


@pytest.mark.parametrize("normalise", ["token", "trajectory"])
@pytest.mark.parametrize("term", [ClippedPG, KL, Entropy])
def test_row_weights_sum_to_one(term: type[Term], normalise: str) -> None:
    table = example_table()
    (part,) = step_loss_of(table, term.model_validate({"normalise": normalise})).parts
    assert part.row_weight.sum().item() == pytest.approx(1)
    assert (part.row_weight > 0).tolist() == part.selection.rows.tolist()


def test_row_weights_by_hand() -> None:
    table = example_table()
    first = table.trajectory == 0
    second = (table.trajectory == 1) & (table.span == Span.QUERY)
    assert (int(first.sum()), int(second.sum())) == (16, 1)
    chosen = tuple((first | second).tolist())
    (by_token,) = step_loss_of(table, Linear(chosen=chosen)).parts
    (by_trajectory,) = step_loss_of(table, Linear(chosen=chosen, normalise="trajectory")).parts
    assert by_token.row_weight[first | second].tolist() == pytest.approx([1 / 17] * 17)
    assert by_trajectory.row_weight[first].tolist() == pytest.approx([1 / 32] * 16)
    assert by_trajectory.row_weight[second].tolist() == pytest.approx([1 / 2])


@pytest.mark.parametrize(("normalise", "units"), [("token", 65), ("trajectory", 7), ("constant", 7 * 256)])
def test_a_mean_may_be_over_more_than_its_rows(normalise: str, units: int) -> None:
    """The 16 rows of the first of seven trajectories, of 65 rows in all: the other rows have a loss of zero."""
    table = example_table()
    chosen = tuple((table.trajectory == 0).tolist())
    term = Linear(chosen=chosen, over=(True,) * 65).model_copy(update={"normalise": normalise})
    (part,) = step_loss_of(table, term).parts
    each = 1 / units / (16 if normalise == "trajectory" else 1)
    assert part.row_weight[:16].tolist() == pytest.approx([each] * 16)
    assert not part.row_weight[16:].any()
    # The figures are means over the rows themselves.
    assert part.log_weight[:16].tolist() == pytest.approx([1 / 16] * 16)


def test_unselected_rows_do_not_dilute() -> None:
    """A mean over the rows of a term is the same whether the table holds only these or many others."""
    table = example_table()
    queries = table.span == Span.QUERY
    model = Model(table)
    for normalise in ("token", "trajectory"):
        term = Distill(hint=Hindsight(), normalise=normalise, over="taught")
        whole = step_loss_of(table, term)
        few = step_loss_of(table.at(queries), term)
        loss, _ = whole.loss(everything(table), model.logits, model.teacher)
        alone, _ = few.loss(
            torch.arange(int(queries.sum())),
            lambda i: model.student[queries][i],
            lambda kind, hints, i: model.weights[queries][i],
        )
        assert alone.item() == pytest.approx(loss.item(), rel=1e-5)


def test_loss_by_hand() -> None:
    table = example_table()
    chosen = tuple(i in (0, 1, 20) for i in range(len(table)))
    assert table.trajectory[[0, 1, 20]].tolist() == [0, 0, 1]
    model = Model(table)
    a, b, c = model.student.detach()[[0, 1, 20], 0].tolist()
    step_loss = step_loss_of(
        table, Linear(chosen=chosen, weight=2.0), Linear(chosen=chosen, weight=10.0, normalise="trajectory")
    )
    names = [t.name for t in step_loss.parts]
    loss, figures = step_loss.loss(everything(table), model.logits)
    by_token, by_trajectory = (a + b + c) / 3, ((a + b) / 2 + c) / 2
    assert loss.item() == pytest.approx(2 * by_token + 10 * by_trajectory, rel=1e-5)
    assert figures["loss"].item() == loss.item()
    assert figures[f"{names[0]}/loss"].item() == pytest.approx(by_token, rel=1e-5)
    assert figures[f"{names[1]}/loss"].item() == pytest.approx(by_trajectory, rel=1e-5)
    assert figures[f"{names[0]}/rows"].item() == 3
    assert figures[f"{names[0]}/token"].item() == pytest.approx(table.token[[0, 1, 20]].float().mean().item())
    assert not any(f.requires_grad for f in figures.values())


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_partition_gives_the_same(data: st.DataObject) -> None:
    """Loss, gradient and figures of a step do not depend on how its rows are cut into micro-batches."""
    table = example_table()
    step_loss, model = step_loss_of(table, *TERMS), Model(table)
    loss, figures = step_loss.loss(everything(table), model.logits, model.teacher)
    gradient = model.gradient(loss)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 4), min_size=len(table), max_size=len(table))))
    shuffled = torch.tensor(data.draw(st.permutations(range(len(table)))))
    parts = [shuffled[labels[shuffled] == label] for label in range(5)]
    total: Counter[str] = Counter()
    summed = torch.zeros_like(gradient)
    for part in parts:
        piece, numbers = step_loss.loss(part, model.logits, model.teacher)
        total.update({k: v.item() for k, v in numbers.items()})
        if piece.requires_grad:
            summed += model.gradient(piece)
    assert dict(total) == pytest.approx({k: v.item() for k, v in figures.items()}, rel=1e-4, abs=1e-5)
    assert torch.allclose(summed, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("term", TERMS, ids=lambda t: t.type)
def test_gradient_is_zero_off_the_selected_rows(term: Term) -> None:
    table = example_table()
    step_loss, model = step_loss_of(table, term), Model(table)
    loss, _ = step_loss.loss(everything(table), model.logits, model.teacher)
    gradient, rows = model.gradient(loss), step_loss.parts[0].selection.rows
    assert torch.equal(gradient[~rows], torch.zeros_like(gradient[~rows]))
    assert gradient[rows].any()


def test_never_credited_rows_change_nothing() -> None:
    table = example_table()
    model = Model(table)
    step_loss = step_loss_of(table, ClippedPG())
    loss, _ = step_loss.loss(everything(table), model.logits)
    with torch.no_grad():
        model.student[table.advantage.isnan()] = float("nan")
    again, _ = step_loss.loss(everything(table), model.logits)
    assert again.item() == loss.item()


def test_teacher_receives_no_gradient() -> None:
    table = example_table()
    step_loss, model = step_loss_of(table, *TERMS), Model(table)
    loss, _ = step_loss.loss(everything(table), model.logits, model.teacher)
    assert torch.autograd.grad(loss, [model.student, model.weights], allow_unused=True)[1] is None


def test_the_policy_is_asked_once_for_the_union() -> None:
    table = example_table()
    model = Model(table)
    query, answer = ((table.span == s) for s in (Span.QUERY, Span.ANSWER))
    step_loss = step_loss_of(table, *(Linear(chosen=tuple(m.tolist())) for m in (query, answer)))
    assert torch.equal(step_loss.needed, query | answer)
    step_loss.loss(everything(table).flip(0), model.logits)
    assert model.asked == [(query | answer).nonzero().squeeze(1).tolist()]


def test_the_teacher_is_asked_only_for_its_rows() -> None:
    table = example_table()
    model = Model(table)
    step_loss = step_loss_of(table, Entropy(), Distill(hint=Hindsight(), rows="answer"))
    step_loss.loss(everything(table), model.logits, model.teacher)
    hints = [h for texts in Hindsight().texts(table.groups, 0) for h in texts]
    assert model.taught == [("live", hints, (table.span == Span.ANSWER).nonzero().squeeze(1).tolist())]


def test_a_term_is_given_what_the_teacher_says_of_its_rows() -> None:
    table = example_table()
    step_loss, model = step_loss_of(table, Distill(hint=Hindsight(), rows="answer")), Model(table)
    seen: list[LossInput] = []
    step_loss.loss(
        everything(table), model.logits, model.teacher, lambda _name, _index, given, _out: seen.append(given)
    )
    torch.testing.assert_close(seen[0].teacher_logits, model.weights[table.span == Span.ANSWER].detach())


def test_a_weight_of_zero_calls_no_teacher() -> None:
    table = example_table()
    model = Model(table)
    terms = [ClippedPG(), Distill(hint=Hindsight(), weight=Schedule(from_step=1)), KL(weight=0.0)]
    before = step_loss_of(table, *terms)
    assert [t.name for t in before.parts] == ["clipped_pg"]
    before.loss(everything(table), model.logits, model.teacher)
    assert model.taught == []
    after = step_loss_of(table, *terms, step=1)
    after.loss(everything(table), model.logits, model.teacher)
    assert [kind for kind, _, _ in model.taught] == ["live"]


def test_no_rows() -> None:
    table = example_table()
    model = Model(table)
    nothing = torch.zeros(0, dtype=torch.int64)
    loss, figures = step_loss_of(table, *TERMS).loss(nothing, model.logits, model.teacher)
    assert (loss.item(), loss.requires_grad) == (0, False)
    assert figures["distill/rows"].item() == figures["distill/loss"].item() == 0
    empty = TokenTable.build([], [])
    loss, _ = step_loss_of(empty, *TERMS).loss(everything(empty), model.logits, model.teacher)
    assert loss.item() == 0
    loss, _ = step_loss_of(table, Entropy(weight=0.0)).loss(everything(table), model.logits)
    assert loss.item() == 0
    assert model.asked == []


@pytest.mark.parametrize("term", [ClippedPG, GSPO, CISPO])
@pytest.mark.parametrize("normalise", ["token", "trajectory", "constant"])
def test_trajectories_of_no_credit_are_not_computed_and_change_nothing(term: type[Term], normalise: str) -> None:
    table = example_table()
    calm = (table.trajectory == 0) | (table.trajectory == 3)
    table = replace(table, advantage=table.advantage.masked_fill(calm, 0.0))

    class Whole(term):  # type: ignore[valid-type, misc]
        follows_credit = False

    found, asked, figures = [], [], []
    for kind in (term, Whole):
        model = Model(table)
        loss, logged = step_loss_of(table, kind(normalise=normalise)).loss(everything(table), model.logits)
        found.append((loss.item(), model.gradient(loss)))
        asked += model.asked
        figures.append({k.split("/")[-1]: float(v) for k, v in logged.items()})
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=0)
    credited = ~table.advantage.isnan()
    assert asked == [(credited & ~calm).nonzero().flatten().tolist(), credited.nonzero().flatten().tolist()]
    assert figures[0]["rows"] == len(asked[0]) < len(asked[1])
    moving = Model(table).student.detach()[credited & ~calm]
    if normalise == "token":
        assert figures[0]["entropy"] == pytest.approx(entropy(moving).mean().item(), rel=1e-5)


def test_figures_are_means_where_the_loss_is_divided_by_a_constant() -> None:
    table, term = example_table(), ClippedPG(normalise="constant", constant=240)
    step_loss = step_loss_of(table, term)
    assert step_loss.parts[0].log_weight.sum().item() == pytest.approx(1)
    _, figures = step_loss.loss(everything(table), lambda index: torch.zeros(len(index), VOCABULARY))
    assert figures["clipped_pg/entropy"].item() == pytest.approx(log(VOCABULARY), rel=1e-5)


def test_a_step_without_contrast_computes_nothing() -> None:
    table = replace(example_table(), advantage=torch.zeros(len(example_table())))
    model = Model(table)
    loss, figures = step_loss_of(table, ClippedPG(), Entropy()).loss(everything(table), model.logits)
    assert len(model.asked[0]) == figures["entropy/rows"] == len(table)
    model = Model(table)
    loss, figures = step_loss_of(table, ClippedPG()).loss(everything(table), model.logits)
    assert (loss.item(), model.asked) == (0, [])
    assert set(figures) == {"loss", "clipped_pg/loss", "clipped_pg/rows"}


def test_no_row_selected_weighs_nothing() -> None:
    table = example_table()
    (part,) = step_loss_of(table, Linear(chosen=(False,) * len(table))).parts
    assert part.row_weight.tolist() == [0] * len(table)


def test_rows_without_a_hint_are_dropped() -> None:
    table = example_table()
    hints = tuple(None if i % 2 else f"hint {i}" for i in range(len(table.trajectories)))
    (part,) = step_loss_of(table, Linear(chosen=(True,) * len(table), hints=hints, taught="live")).parts
    assert part.selection.rows.tolist() == (table.trajectory % 2 == 0).tolist()
    assert part.row_weight.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("normalise", ["token", "trajectory"])
def test_several_processes_share_one_normaliser(normalise: str) -> None:
    """Two processes that hold half of the trajectories each add up to one that holds them all."""
    table = example_table()
    model = Model(table)
    terms = [t.model_copy(update={"normalise": normalise}) for t in TERMS]
    whole, _ = StepLoss.of(table, terms, 0, 0).loss(everything(table), model.logits, model.teacher)
    halves = [table.rows_of(range(4)), table.rows_of(range(4, 8))]
    counts: list[Tensor] = []

    def note(count: Tensor) -> Tensor:
        counts.append(count)
        return count

    for half in halves:
        StepLoss.of(table.at(half), terms, 0, 0, note)
    assert [c.dtype for c in counts] == [torch.int64] * 2
    total = 0.0
    for half in halves:
        mine = Model(table.at(half))
        mine.student, mine.weights = model.student[half], model.weights[half]
        step_loss = StepLoss.of(table.at(half), terms, 0, 0, lambda _: counts[0] + counts[1])
        loss, _ = step_loss.loss(torch.arange(len(half)), mine.logits, mine.teacher)
        total += loss.item()
    assert total == pytest.approx(whole.item(), rel=1e-5)


def test_the_normaliser_counts_units() -> None:
    table = example_table()
    rows = table.rows_of([0, 2])
    mask = torch.zeros(len(table), dtype=torch.bool)
    mask[rows] = True
    assert normaliser(table, mask, "token")[1] == len(rows)
    part, count = normaliser(table, mask, "trajectory")
    assert count == 2
    assert part.sum().item() == pytest.approx(2)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Linear(chosen=(True,)), r"got rows torch.bool \(1,\), expected torch.bool \(65,\)"),
        (Linear(chosen=(True,) * 65, over=(True,)), r"got over torch.bool \(1,\), expected torch.bool \(65,\)"),
        (
            Linear(chosen=(True,) * 65, over=(False,) * 65),
            "got rows that its mean is not over",
        ),
        (Linear(chosen=(True,) * 65, hints=("x",) * 8), "got hints and no teacher"),
        (Linear(chosen=(True,) * 65, hints=("x",), taught="live"), "got 1 hints, expected one per trajectory, 8"),
        (Linear(chosen=(True,) * 65, taught="ema"), r"got the teacher 'ema', expected one that it `needs` \(live\)"),
    ],
)
def test_a_selection_must_fit(term: Term, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_loss_of(example_table(), term)


def test_logits_must_fit() -> None:
    table = example_table()
    with pytest.raises(ValueError, match=r"got logits of shape \(2, 5\) from the policy, expected \(65, vocabulary\)"):
        step_loss_of(table, Entropy()).loss(everything(table), lambda _: torch.zeros(2, 5))
    with pytest.raises(ValueError, match="from the teacher"):
        step_loss_of(table, KL()).loss(everything(table), Model(table).logits, lambda *_: torch.zeros(2, 5))
    with pytest.raises(ValueError, match="needs the teacher 'frozen', got none"):
        step_loss_of(table, KL()).loss(everything(table), Model(table).logits)


def test_uniform_policy_has_the_entropy_of_its_vocabulary() -> None:
    table = example_table()
    loss, figures = step_loss_of(table, Entropy(weight=0.5)).loss(
        everything(table), lambda i: torch.zeros(len(i), VOCABULARY)
    )
    assert loss.item() == pytest.approx(-0.5 * log(VOCABULARY))
    assert figures["entropy/loss"].item() == pytest.approx(-log(VOCABULARY))


def test_hints_follow_their_trajectory_into_a_part() -> None:
    table = example_table()
    seen: list[Hints | None] = []

    def teacher(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        seen.append(hints)
        return torch.zeros(len(index), VOCABULARY)

    step_loss, model = step_loss_of(table, Distill(hint=Hindsight())), Model(table)
    for t in range(len(table.trajectories)):
        step_loss.loss(table.rows_of([t]), model.logits, teacher)
    assert all(h == step_loss.parts[0].selection.hints for h in seen)


def test_the_first_pass_is_what_ratios_are_taken_to() -> None:
    """In the first update of a step every ratio is 1, whatever the sampler said; in the second it is to the first."""
    table = replace(example_table(), old_logprob=torch.full((len(example_table()),), torch.nan))
    step_loss = step_loss_of(table, ClippedPG(clip=0.99))
    first, second = (torch.randn(len(table), VOCABULARY, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    rows = step_loss.needed.nonzero()[:, 0]
    picked = [x.log_softmax(1).gather(1, table.token[:, None])[:, 0][rows] for x in (first, second)]
    for part in rows.tensor_split(3):
        _, figures = step_loss.losses(part, lambda index: first[index])
        assert float(figures["clipped_pg/log_ratio"]) == 0.0
    torch.testing.assert_close(table.old_logprob[rows], picked[0])
    assert table.old_logprob.isnan().sum() == len(table) - len(rows), "rows that nobody computed have none"
    _, figures = step_loss.losses(rows, lambda index: second[index])
    torch.testing.assert_close(table.old_logprob[rows], picked[0])
    expected = (step_loss.parts[0].log_weight[rows] * (picked[1] - picked[0]).abs()).sum()
    assert float(figures["clipped_pg/log_ratio"]) == pytest.approx(float(expected), rel=1e-5)

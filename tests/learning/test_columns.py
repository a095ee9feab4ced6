"""What is kept of each token: numbers by hand, the same for every cut of the rows, and in accord with the metrics."""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Span
from sdsearch.learning import columns as module
from sdsearch.learning.columns import Columns, hint_lines
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.train import train
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.leave_one_out import LeaveOneOut
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.objectives.terms.entropy import Entropy
from sdsearch.objectives.terms.kl import KL
from sdsearch.policy import logprobs
from sdsearch.policy.logprobs import entropy, measured, pick
from sdsearch.runs.folder import Run
from sdsearch.runs.token_columns import HintLine, TokenColumns
from sdsearch.spec import load
from sdsearch.testing import VOCABULARY, example_groups, example_table

TERMS: list[Term] = [ClippedPG(normalise="trajectory"), KL(weight=0.3), Entropy(), Distill(hint=Hindsight(), top_k=5)]


def computed(table: TokenTable, terms: Sequence[Term], parts: Sequence[Tensor], updates: int = 1) -> TokenColumns:
    """Return the columns of updates in which the policy's logits are drawn, and grow from update to update."""
    dice = torch.Generator().manual_seed(0)
    student = torch.randn(len(table), VOCABULARY, generator=dice)
    teacher = torch.randn(len(table), VOCABULARY, generator=dice)
    columns, step_loss = Columns(table, {}), StepLoss.of(table, terms, 0, 0)

    def teach(kind: Teacher, hints: Hints | None, index: Tensor) -> Tensor:
        return teacher[index]

    for update in range(updates):
        columns.begin(step_loss.parts)

        def logits(index: Tensor, factor: int = update + 1) -> Tensor:
            scored = (factor * student[index]).requires_grad_()
            columns.see_student(index, scored, table.token[index])
            return scored

        for part in parts:
            step_loss.losses(part, logits, teach, columns.see_term)
    return columns.kept()


def everything(table: TokenTable) -> list[Tensor]:
    return [torch.arange(len(table))]


class Given(Term):
    """Has twice the token as its loss, on the answers."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"live"})

    def select(self, table: TokenTable, seed: int) -> Selection:
        hints = [(None, "seen", *[""] * len(t.actions))[: len(t.actions)] for t in table.trajectories]
        return Selection(table.span == Span.MARKUP, "live", hints)

    def loss(self, rows: LossInput) -> LossOutput:
        return LossOutput(2.0 * rows.table.token, {})


def test_columns_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens are possible: to the policy the odds of the sampled one are 3 : 1, to its teacher 1 : 4."""
    monkeypatch.setattr(module, "K", 1)
    table = example_table()
    step_loss, columns = StepLoss.of(table, [Given()], 0, 0), Columns(table, {})
    (part,) = step_loss.parts
    name, chosen = part.name, part.selection.rows
    assert 0 < chosen.sum() < (table.span == Span.MARKUP).sum()
    own, other = table.token[:, None], (table.token[:, None] + 1) % VOCABULARY
    impossible = torch.full((len(table), VOCABULARY), -1e4)
    student = impossible.scatter(1, own, log(3)).scatter(1, other, 0.0)
    teacher = impossible.scatter(1, own, 5.0).scatter(1, other, 5.0 + log(4))

    def logits(index: Tensor) -> Tensor:
        columns.see_student(index, student[index], table.token[index])
        return student[index]

    columns.begin(step_loss.parts)
    step_loss.losses(torch.arange(len(table)), logits, lambda kind, hints, index: teacher[index], columns.see_term)
    kept = columns.kept()
    expected: dict[str, Any] = {
        f"loss/{name}": 2.0 * table.token[chosen].numpy(),
        "logprob/old": log(3 / 4),
        "logprob/student": log(3 / 4),
        f"logprob/teacher/{name}": log(1 / 5),
        "entropy/student": -3 / 4 * log(3 / 4) - 1 / 4 * log(1 / 4),
        f"entropy/teacher/{name}": -1 / 5 * log(1 / 5) - 4 / 5 * log(4 / 5),
    }
    for column, value in expected.items():
        np.testing.assert_allclose(kept.values[column][chosen], value, rtol=1e-3 if "entropy" in column else 1e-5)
        assert np.isnan(kept.values[column][~chosen]).all(), column
    assert kept.values[f"selected/{name}"].tolist() == chosen.tolist()
    assert kept.values[f"top/student/{name}"].tolist() == own[chosen].tolist()
    assert kept.values[f"top/teacher/{name}"].tolist() == other[chosen].tolist()
    np.testing.assert_allclose(kept.values[f"top/student/{name}/logprob"], log(3 / 4), rtol=1e-3)
    np.testing.assert_allclose(kept.values[f"top/teacher/{name}/logprob"], log(4 / 5), rtol=1e-3)
    seen = [i for i, t in enumerate(table.trajectories) if len(t.actions) > 1]
    assert kept.hints == tuple(HintLine(name, i, 1, "seen") for i in seen)
    kinds = {
        column.split("/")[0] + "/logprob" * column.endswith("/logprob"): v.dtype for column, v in kept.values.items()
    }
    assert kinds == {
        "advantage": np.float32,
        "logprob": np.float32,
        "loss": np.float32,
        "entropy": np.float16,
        "selected": np.bool_,
        "top": np.int32,
        "top/logprob": np.float16,
    }


def test_advantages_of_each_credit_by_hand() -> None:
    groups = example_groups()
    credits = [GroupMean(scale="none", weight=2.0), LeaveOneOut(), LeaveOneOut(weight=-1.0)]
    advantages = step_advantages(credits, groups)
    table = TokenTable.build(groups, advantages.values)
    values = Columns(table, advantages.parts).kept().values
    assert list(advantages.parts) == ["group_mean", "leave_one_out", "leave_one_out_2"]
    first = table.trajectory == 0  # its reward is 1, those of the others are 0 and 1/2
    assert set(values["advantage/group_mean"][first]) == {1.0}
    assert set(values["advantage/leave_one_out"][first]) == {0.75}
    assert set(values["advantage/leave_one_out_2"][first]) == {-0.75}
    assert set(values["advantage"][first]) == {1.0}
    assert values["logprob/sampler"].tolist() == table.sampler_logprob.tolist()


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_partition_gives_the_same_columns(data: st.DataObject) -> None:
    table = example_table()
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=len(table), max_size=len(table))))
    shuffled = torch.tensor(data.draw(st.permutations(range(len(table)))))
    parts = [shuffled[labels[shuffled] == label] for label in range(4)]
    whole, cut = computed(table, TERMS, everything(table)), computed(table, TERMS, parts)
    assert whole.values.keys() == cut.values.keys()
    assert len(whole.values) > 15
    for name, column in whole.values.items():
        np.testing.assert_allclose(cut.values[name], column, rtol=1e-5, atol=1e-3 * (column.dtype == np.float16))
    assert cut.hints == whole.hints != ()


def test_only_the_policy_of_the_last_update_is_kept_of_later_ones() -> None:
    table = example_table()
    one, two = (computed(table, TERMS, everything(table), updates) for updates in (1, 2))
    assert one.values.keys() == two.values.keys()
    for name, column in one.values.items():
        assert np.array_equal(two.values[name], column, equal_nan=name[:3] != "top") == (name != "logprob/student")
    assert np.array_equal(one.values["logprob/student"], one.values["logprob/old"])
    assert one.hints == two.hints


def test_a_step_without_contrast_has_the_same_columns() -> None:
    table = example_table()
    terms = [ClippedPG(), Distill(hint=Hindsight())]
    whole, nothing = computed(table, terms, everything(table)), computed(table, terms, [])
    assert nothing.values.keys() == whole.values.keys()
    assert all(nothing.values[name].dtype == column.dtype for name, column in whole.values.items())
    for name in ("logprob/old", "logprob/student", "loss/clipped_pg", "entropy/teacher/distill"):
        assert np.isnan(nothing.values[name]).all()
    calm = computed(TokenTable.build([], []), terms, [])
    assert {len(column) for column in calm.values.values()} == {0}
    assert calm.values.keys() == whole.values.keys()


def test_a_hint_of_no_text_is_no_line() -> None:
    assert hint_lines("t", ["one", None, "", ("a", None, ""), "two"]) == [
        HintLine("t", 0, None, "one"),
        HintLine("t", 3, 0, "a"),
        HintLine("t", 4, None, "two"),
    ]


@pytest.mark.parametrize("cells", [1, 40, 1 << 24])
def test_what_is_read_off_logits_a_few_rows_at_once(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CELLS", cells)
    logits = 30 * torch.randn(7, 19, generator=torch.Generator().manual_seed(0)) + 1e3
    token = torch.arange(7)
    found = measured(logits, token)
    torch.testing.assert_close(found.logprob, pick(logits, token), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.entropy, entropy(logits), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits - found.normaliser[:, None], logits.log_softmax(1), rtol=1e-4, atol=1e-3)
    assert [len(each) for each in measured(logits[:0], token[:0])] == [0, 0, 0]


def test_a_large_vocabulary_is_never_copied_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = torch.Tensor.exp

    def noted(self: Tensor) -> Tensor:
        sizes.append(self.numel())
        return whole(self)

    monkeypatch.setattr(torch.Tensor, "exp", noted)
    monkeypatch.setattr(logprobs, "CELLS", 1 << 20)
    measured(torch.zeros(40, 150_000), torch.zeros(40, dtype=torch.int64))
    assert sum(sizes) == 40 * 150_000
    assert max(sizes) <= 1 << 20


def test_columns_agree_with_the_metrics_of_a_run(spec: Path) -> None:
    """Weighted as the terms weight their rows, losses and gaps are those of metrics.jsonl; training is not changed."""
    changes = ["train.steps=2", "train.tokens_per_batch=100", "train.epochs=2", "monitors.gradients_every=0"]
    runs = {
        every: train(load(spec, [*changes, f"name=every{every}", f"train.columns_every={every}"]))
        for every in (1, 2, 0)
    }
    weights = [(r.checkpoints / "step_2" / "model.safetensors").read_bytes() for r in runs.values()]
    assert weights[0] == weights[1] == weights[2]
    assert [sorted(p.stem for p in (r.folder / "columns").glob("*")) for r in runs.values()] == [
        ["step_1", "step_2"],
        ["step_1"],
        [],
    ]
    run = Run.open(runs[1].folder)
    once = Run.open(train(load(spec, [*changes, "name=once", "train.steps=1", "train.epochs=1"])).folder)
    table, (metrics,) = once.table(1), [m["train"] for m in once.metrics() if "train" in m]
    assert len(table.trajectories) == 6
    assert table["selected/clipped_pg"].any()
    assert np.array_equal(table["advantage/small_parts.by_token"], table["advantage"], equal_nan=True)
    # Each row counts the same; those of trajectories without any credit count as zeros.
    credited = ~np.isnan(table["advantage"])
    assert np.nansum(table["loss/clipped_pg"]) / credited.sum() == pytest.approx(metrics["clipped_pg/loss"], rel=1e-5)
    # Each trajectory counts the same.
    chosen = table["selected/distill"]
    rows = [chosen & (table.trajectory == i) for i in sorted(set(table.trajectory[chosen]))]
    means = {
        name: float(np.mean([values[r].mean() for r in rows]))
        for name, values in {
            "loss": table["loss/distill"],
            "gap": table["logprob/teacher/distill"] - table["logprob/old"],
        }.items()
    }
    assert means == pytest.approx({n: metrics[f"distill/{n}"] for n in means}, rel=1e-4)
    drift = np.nanmean(np.abs(table["logprob/old"] - table["logprob/sampler"]))
    assert drift == pytest.approx(metrics["drift_mean"], abs=1e-6)
    assert {h.term for h in table.hints} == {"distill"}
    assert {h.trajectory for h in table.hints} == set(range(6))
    later = run.table(1)
    assert np.array_equal(later["logprob/old"], table["logprob/old"], equal_nan=True)
    assert np.nanmax(np.abs(later["logprob/student"] - later["logprob/old"])) > 1e-4


def test_whoever_sees_the_line_of_a_step_finds_its_columns(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, seen = Run.record, list[int]()

    def looking(self: Run, metrics: dict[str, Any]) -> None:
        if "train" in metrics:
            seen.append(len(self.table(metrics["step"])["advantage"]))
        record(self, metrics)

    monkeypatch.setattr(Run, "record", looking)
    train(load(spec, ["train.steps=2"]))
    assert len(seen) == 2
    assert all(seen)

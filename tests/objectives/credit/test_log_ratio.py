"""The implied credit of a hinted teacher, against the model itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sdsearch.catalogue import SPECS
from sdsearch.divergence import pick
from sdsearch.errors import SpecError
from sdsearch.objective import Objective, Rows
from sdsearch.objectives.credit.log_ratio import LogRatio, implied
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.probe import Numbers, Probe
from sdsearch.spec import Experiment, load
from sdsearch.testing import example_groups
from sdsearch.tokens import TokenTable
from sdsearch.trajectory import Group, Span


class Told(Probe):
    """Answers -0.25, -0.5, ... for the tokens of each trajectory, and remembers what it was asked."""

    def logprobs(self, groups, hints=None, teacher="live") -> Numbers:  # type: ignore[no-untyped-def]
        """See `Probe`."""
        self.hints, self.teacher = hints, teacher
        return [-0.25 * np.arange(1, t.sampled + 1) for g in groups for t in g.kept]


@pytest.mark.parametrize("rows", ["query", "answer", "policy"])
def test_it_is_the_log_ratio_on_its_rows(rows: str) -> None:
    groups, probe = example_groups(), Told()
    found = LogRatio.model_validate({"rows": rows, "teacher": "frozen"}).credits(groups, probe)
    assert probe.teacher == "frozen"
    kept = [t for g in groups for t in g.kept]
    assert len(probe.hints) == len(kept)
    for credit, trajectory in zip(found, kept, strict=True):
        tokens = [(p, s) for a in trajectory.actions for p, s in zip(a.logprobs, a.spans, strict=True)]
        for i, (logprob, span) in enumerate(tokens):
            if rows in ("policy", span.name.lower()):
                assert credit[i] == pytest.approx(-0.25 * (i + 1) - logprob)
            else:
                assert np.isnan(credit[i])
    assert any(np.isfinite(c).any() for c in found)


def test_a_turn_has_the_mean_of_its_tokens() -> None:
    groups = example_groups()
    token, turn = (LogRatio.model_validate({"per": p}).credits(groups, Told()) for p in ("token", "turn"))
    seen = 0
    for one, mean, trajectory in zip(token, turn, (t for g in groups for t in g.kept), strict=True):
        start = 0
        for action in trajectory.actions:
            part = slice(start, start + len(action.tokens))
            start = part.stop
            assert np.array_equal(np.isnan(one[part]), np.isnan(mean[part]))
            if np.isfinite(one[part]).any():
                assert np.nanmax(mean[part]) == pytest.approx(np.nanmean(one[part]))
                assert np.nanmin(mean[part]) == pytest.approx(np.nanmean(one[part]))
                seen += 1
    assert seen


def test_its_policy_gradient_is_that_of_the_sampled_reverse_kl() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 7, dtype=torch.float64)
    # The expectation over all tokens of credit * grad log p, against the gradient of KL(policy || teacher).
    logprobs = logits.log_softmax(1)
    credit = (teacher.log_softmax(1) - logprobs).detach()
    (expected,) = torch.autograd.grad(
        (logprobs.exp() * (logprobs - teacher.log_softmax(1))).sum(), logits, retain_graph=True
    )
    (got,) = torch.autograd.grad(-(logprobs.detach().exp() * credit * logprobs).sum(), logits)
    torch.testing.assert_close(got, expected)


def test_on_policy_the_clipped_gradient_is_credit_times_log_p() -> None:
    groups = example_groups()
    credits = Objective(credit=[LogRatio()], terms=[ClippedPG()]).credits(groups, Told())
    table = TokenTable.build(groups, credits)
    mine = table.at(~table.credit.isnan())
    assert set(mine.span.tolist()) == {int(Span.QUERY)}
    logits = torch.randn(len(mine), 100, dtype=torch.float32)
    on_policy = pick(logits, mine.token)
    mine = replace(mine, logprob=on_policy)
    logits.requires_grad_()
    (got,) = torch.autograd.grad(ClippedPG().values(Rows(mine, logits, None)).loss.sum(), logits)
    (expected,) = torch.autograd.grad(-(mine.credit * pick(logits, mine.token)).sum(), logits)
    torch.testing.assert_close(got, expected)


def test_what_a_term_implies() -> None:
    term = Distill(hint=Hindsight(max_words=9), teacher="ema", rows="answer")
    assert implied(term) == LogRatio(hint=Hindsight(max_words=9), teacher="ema", rows="answer")
    assert implied(term).needs == {"ema"}
    assert LogRatio().needs == set()


def test_no_hint_is_no_text_in_front() -> None:
    probe = Told()
    LogRatio(hint=None, teacher="external").credits(example_groups(), probe)
    assert probe.hints is None


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("{type: distill, hint: null}", "the live teacher is the policy itself"),
        ("{type: distill, hint: {type: peer_success}}", "train.group is 1"),
        ("{type: distill, hint: hindsight, gate: mixed}", "train.group is 1"),
    ],
)
def test_senseless_distillation_is_refused(term: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load(SPECS / "grpo.yaml", ["train.group=1", "objective={credit: [], terms: [" + term + "]}"])


def test_an_external_teacher_has_to_be_named() -> None:
    objective = "objective={terms: [{type: distill, hint: null, teacher: external}]}"
    with pytest.raises(SpecError, match="the spec has no `teacher`"):
        load(SPECS / "grpo.yaml", [objective])
    found = load(SPECS / "grpo.yaml", [objective, "teacher={type: local, model: seed-policy}"])
    assert isinstance(found, Experiment)
    assert found.objective is not None
    assert found.objective.teachers == {"external"}


def test_groups_of_all_kinds() -> None:
    assert LogRatio().credits([], Told()) == []
    lone = [Group(g.question, g.trajectories) for g in example_groups() if not g.kept]
    assert LogRatio().credits(lone, Told()) == []

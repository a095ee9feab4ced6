"""The implied credit of a hinted teacher, against the model itself."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdsearch.config.catalogue import SPECS
from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.loss import LossInput
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import SpecError
from sdsearch.fidelity.candidates import implied
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.probe import ModelProbe
from sdsearch.learning.teachers import Teachers
from sdsearch.learning.train import train
from sdsearch.objectives.credit.log_ratio import LogRatio
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.policy.logprobs import pick
from sdsearch.policy.policy import Policy
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.runs import checkpoint
from sdsearch.spec import Experiment, Objective, load
from sdsearch.testing import example_groups


class Told(Probe):
    """Answers -0.25, -0.5, ... for the tokens of each trajectory, and remembers what it was asked."""

    def logprobs(self, groups, hints=None, teacher="live") -> Numbers:  # type: ignore[no-untyped-def]
        """See `Probe`."""
        self.hints, self.teacher = hints, teacher
        return [-0.25 * np.arange(1, t.sampled + 1) for g in groups for t in g.kept]


@pytest.mark.parametrize("rows", ["query", "answer", "policy"])
def test_it_is_the_log_ratio_on_its_rows(rows: str) -> None:
    groups, probe = example_groups(), Told()
    found = LogRatio.model_validate({"rows": rows, "teacher": "frozen"}).advantages(groups, probe).values
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
    token, turn = (LogRatio.model_validate({"per": p}).advantages(groups, Told()).values for p in ("token", "turn"))
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
    credits = step_advantages(Objective(credit=[LogRatio()], terms=[ClippedPG()]).credit, groups, Told()).values
    table = TokenTable.build(groups, credits)
    mine = table.at(~table.advantage.isnan())
    assert set(mine.span.tolist()) == {int(Span.QUERY)}
    logits = torch.randn(len(mine), 100, dtype=torch.float32)
    on_policy = pick(logits, mine.token)
    mine = replace(mine, old_logprob=on_policy)
    logits.requires_grad_()
    (got,) = torch.autograd.grad(ClippedPG().loss(LossInput(mine, logits, pick(logits, mine.token))).loss.sum(), logits)
    (expected,) = torch.autograd.grad(-(mine.advantage * pick(logits, mine.token)).sum(), logits)
    torch.testing.assert_close(got, expected)


def test_what_a_term_implies() -> None:
    term = Distill(hint=Hindsight(max_words=9), teacher="ema", rows="answer")
    assert implied(term) == LogRatio(hint=Hindsight(max_words=9), teacher="ema", rows="answer")
    assert implied(term).needs == {"ema"}
    assert LogRatio().needs == set()


def test_no_hint_is_no_text_in_front() -> None:
    probe = Told()
    LogRatio(hint=None, teacher="external").advantages(example_groups(), probe)
    assert probe.hints is None


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("{type: distill, hint: null}", "the live teacher is the policy itself"),
        ("{type: distill, hint: {type: peer_success}}", "train.group is 1"),
        ("{type: distill, hint: hindsight, gate: mixed}", "train.group is 1"),
        ("{type: distill, hint: {type: hindsight, include_self: others}}", "train.group is 1"),
        ("{type: distill, hint: {type: placebo, hint: peer_success}}", "train.group is 1"),
        ("{type: kl, estimator: k1}", "the mean gradient of k1 is zero"),
    ],
)
def test_senseless_terms_are_refused(term: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load(SPECS / "grpo.yaml", ["train.group=1", "objective={credit: [], terms: [" + term + "]}"])


@pytest.mark.parametrize(
    "changes",
    [
        ["train.group=1", "objective={credit: [], terms: [{type: distill, hint: hindsight}]}"],
        ["train.group=1", "objective={credit: [], terms: [{type: distill, hint: hindsight, gate: has_correct}]}"],
        ["train.epochs=2", "objective={credit: [], terms: [{type: kl, estimator: k1}]}"],
        ["objective={credit: [], terms: [{type: distill, hint: peer_success, gate: mixed}]}"],
    ],
)
def test_sensible_terms_are_accepted(changes: list[str]) -> None:
    load(SPECS / "grpo.yaml", changes)


@pytest.mark.parametrize(
    ("credit", "said"),
    [
        ("{type: log_ratio, hint: null}", "the live teacher is the policy itself"),
        ("{type: log_ratio, hint: peer_success}", "train.group is 1"),
    ],
)
def test_senseless_credits_are_refused(credit: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load(SPECS / "grpo.yaml", ["train.group=1", f"objective.credit=[{credit}]"])


def test_an_external_teacher_has_to_be_named() -> None:
    objective = "objective={credit: [], terms: [{type: distill, hint: null, teacher: external}]}"
    with pytest.raises(SpecError, match="the spec has no `teacher`"):
        load(SPECS / "grpo.yaml", [objective])
    found = load(SPECS / "grpo.yaml", [objective, "teacher={name: seed-policy}"])
    assert isinstance(found, Experiment)
    assert found.objective is not None
    assert found.objective.teachers == {"external"}


def moved(tiny: Policy) -> Policy:
    """Return another policy with the same vocabulary and other weights."""
    other = deepcopy(tiny)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    other.head, other.decoder = other.model.get_output_embeddings(), other.model.get_decoder()
    return other


@pytest.mark.parametrize(
    ("hint", "teacher"), [("gold_answer", "live"), ("gold_answer", "external"), (None, "external")]
)
def test_a_real_model_in_float64(tiny: Policy, hint: str | None, teacher: str) -> None:
    tiny.temperature = 0.7
    question, grammar = Question("q", "Where?", ("Rome",)), SearchR1()
    prompt, seen = "Q: where? ", " found Rome "
    actions = ["<search> airport </search>", "<answer> Rome </answer>"]
    written = [tiny.codec.encode(a) for a in actions]
    sampled = [(-1.5,) * len(w) for w in written]
    segments = (
        Segment("prompt", prompt, tiny.codec.prompt(prompt)),
        Segment("model", actions[0], written[0], sampled[0], tiny.codec.spans(written[0], grammar)),
        Segment("observation", seen, tiny.codec.encode(seen)),
        Segment("model", actions[1], written[1], sampled[1], tiny.codec.spans(written[1], grammar)),
    )
    turns = (Turn("search", "airport"), Turn("answer", "Rome"))
    group = Group(question, (Trajectory(question, segments, turns, "answered", 1.0),))
    external = moved(tiny)
    teachers = Teachers(tiny, {teacher}, 0.1, external if teacher == "external" else None)
    probe = ModelProbe(EpisodeCollector(None, None, [question], 1, 7, 3), grammar, teachers, 10_000)  # type: ignore[arg-type]
    credit = LogRatio.model_validate({"hint": hint, "teacher": teacher, "rows": "policy"})
    (found,) = credit.advantages([group], probe).values

    judge = deepcopy(external if teacher == "external" else tiny).model.double().eval()
    opening = tiny.codec.prompt(("The answer is Rome.\n\n" if hint else "") + prompt)
    tokens = [*opening, *(t for s in segments[1:] for t in s.tokens)]
    with torch.no_grad():
        logits = judge(input_ids=torch.tensor([tokens])).logits[0] / 0.7
    expected, at = [], len(opening)
    for segment in segments[1:]:
        if segment.logprobs:
            expected += [float(logits[at + i - 1].log_softmax(0)[t]) + 1.5 for i, t in enumerate(segment.tokens)]
        at += len(segment.tokens)
    assert found == pytest.approx(expected, abs=1e-4)


METHODS = ("sdpo", "opsd", "sdft", "external_teacher", "sampled_reverse_kl", "srpo", "sdar")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_family_takes_a_step(spec: Path, method: str) -> None:
    found = load(SPECS / "methods" / f"{method}.yaml").model_dump(mode="json")
    for part in (*found["objective"]["credit"], *found["objective"]["terms"]):
        # The small policy writes no query and is never right: its other tokens are taught, by a peer that failed.
        part |= {"rows": "policy"} if "rows" in part else {}
        if "hint" in part and part["hint"] and part["hint"]["type"] == "peer_success":
            part["hint"] = {"type": "hindsight"}
    sections = [f"objective={json.dumps(found['objective'])}"]
    if found["teacher"]:
        small = load(spec)
        assert isinstance(small, Experiment)
        sections.append(f"teacher={json.dumps(small.model.model_dump(mode='json'))}")
    run = train(load(spec, [*sections, "train.steps=1", "train.evaluate_every=0"]))
    (line,) = (m for m in run.metrics() if "train" in m)
    assert np.isfinite(line["train"]["loss"])


def test_an_external_teacher_is_not_trained_and_not_saved(spec: Path, tiny: Policy, tmp_path: Path) -> None:
    other = moved(tiny)
    other.model.save_pretrained(tmp_path / "other")
    other.codec.tokenizer.save_pretrained(tmp_path / "other")
    teachers = Teachers(tiny, {"external"}, 0.1, other)
    assert not any(p.requires_grad for p in other.model.parameters())
    assert teachers.state_dict() == {"copies": {}, "averages": []}
    changes = [
        "objective={credit: [], terms: [{type: distill, hint: null, teacher: external, rows: policy, top_k: null}]}",
        f"teacher={{name: {tmp_path}/other}}",
        "train.steps=1",
        "train.evaluate_every=0",
    ]
    run = train(load(spec, changes))
    (line,) = (m["train"] for m in run.metrics() if "train" in m)
    assert line["loss"] > 1e-3
    held = checkpoint.load(run.folder / "checkpoints" / "step_1")[1]["teachers"]
    assert held == {"copies": {}, "averages": []}
    again = Policy.load(load(spec, [f"model.name={tmp_path}/other"]).model)
    before, after = other.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_groups_of_all_kinds() -> None:
    assert LogRatio().advantages([], Told()).values == []
    lone = [Group(g.question, g.trajectories) for g in example_groups() if not g.kept]
    assert LogRatio().advantages(lone, Told()).values == []

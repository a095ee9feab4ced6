"""Scoring: a hint changes what is in front of the question and nothing else, and teachers are never trained."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sdsearch.contracts.hint import After, beside
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory
from sdsearch.errors import ContextError
from sdsearch.learning.teachers import Teachers, score
from sdsearch.learning.train import train
from sdsearch.objectives.hints.gold_answer import GoldAnswer
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.objectives.terms.distill import Distill
from sdsearch.policy.policy import Policy
from sdsearch.runs import checkpoint
from sdsearch.spec import load
from sdsearch.testing import example_groups


def table(policy: Policy) -> TokenTable:
    """Return the rows of two groups of two trajectories of different lengths."""
    groups = []
    for i in range(2):
        question = Question(f"q{i}", f"Which city does Airport {i} serve?", ("a",))
        prompt = f"Question: {question.text}\n"
        trajectories = []
        for text in (" Airport one </search>", " city </search>"):
            action = policy.codec.encode(text * (i + 1))
            spans = (Span.QUERY,) * len(action)
            segments = (
                Segment("prompt", prompt, policy.codec.prompt(prompt)),
                Segment("model", text, action, (-1.0,) * len(action), spans),
                Segment("observation", "seen", policy.codec.encode("seen")),
                Segment("model", text, action, (-1.0,) * len(action), spans),
            )
            trajectories.append(Trajectory(question, segments, (), "answered", 0.0))
        groups.append(Group(question, tuple(trajectories)))
    kept = [t for g in groups for t in g.kept]
    return TokenTable.build(groups, [torch.ones(t.sampled).double().numpy() for t in kept])


LONG = "a much longer hint about Airport 7\n\n"


@pytest.mark.parametrize(
    "hints", [None, ["one two three\n\n", None, "x\n", LONG], [After(LONG), None, "x\n", After(LONG)]]
)
def test_rows_are_matched_by_token(tiny: Policy, hints: list[str | None] | None) -> None:
    rows = table(tiny)
    got = torch.log_softmax(score(tiny, rows, hints), -1).gather(1, rows.token[:, None])[:, 0]
    expected = []
    for i, trajectory in enumerate(rows.trajectories):
        hint = (hints[i] if hints else None) or ""
        opening = tiny.codec.prompt(beside(hint, trajectory.segments[0].text))
        tokens = [*opening]
        for segment in trajectory.segments[1:]:
            at = len(tokens)
            tokens += segment.tokens
            logprobs = tiny.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            expected += [logprobs[at + j - 1, t] for j, t in enumerate(segment.tokens) if segment.logprobs]
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_a_hint_stands_in_its_place() -> None:
    """Before the prompt as it is; behind it after an empty line, and the end of the prompt stays the end."""
    assert beside("You know:\nx\n\n", "Question: Where?\n") == "You know:\nx\n\nQuestion: Where?\n"
    assert beside(After("You know:\nx\n\n"), "Question: Where?\n") == "Question: Where?\n\nYou know:\nx\n"
    assert beside(After("x\n\n"), "Where?") == "Where?\n\nx"
    assert beside("", "Where?\n") == "Where?\n"
    groups = example_groups()
    for hint in (Hindsight(place="after", include_self="past_only"), Placebo(hint=GoldAnswer(place="after"))):
        every = [
            text
            for of in hint.placed(groups, 0)
            for each in of
            for text in (each if isinstance(each, tuple) else [each])
        ]
        assert {type(text) for text in every if text is not None} == {After}
        assert [[str(t) for t in of] for of in hint.placed(groups, 0)] == [
            [str(t) for t in of] for of in hint.texts(groups, 0)
        ]


def test_the_places_of_a_term_s_hint(tiny: Policy) -> None:
    """A teacher finds other numbers where the hint stands elsewhere, and those of the student where nothing is told."""
    rows = table(tiny)
    found = {
        place: score(tiny, rows, Distill(hint=GoldAnswer(place=place)).select(rows, 0).hints)
        for place in ("before", "after")
    }
    assert not torch.allclose(found["before"], found["after"], atol=1e-3)


def test_teachers_get_no_gradient_and_leave_the_policy_in_its_mode(tiny: Policy) -> None:
    rows = table(tiny)
    teachers = Teachers(tiny, {"frozen", "ema"}, 0.5)
    tiny.model.train()
    for kind in ("live", "frozen", "ema"):
        found = teachers.score(kind, rows, None)
        assert not found.requires_grad
        torch.testing.assert_close(found, score(tiny, rows).detach())
    assert tiny.model.training
    assert not any(p.requires_grad for p in teachers.policies["frozen"].model.parameters())


def test_frozen_stays_and_ema_follows(tiny: Policy) -> None:
    teachers = Teachers(tiny, {"frozen", "ema"}, 0.25)
    before = tiny.head.weight.detach().clone()
    with torch.no_grad():
        tiny.head.weight += 4.0
    teachers.follow()
    torch.testing.assert_close(teachers.policies["frozen"].head.weight, before)
    torch.testing.assert_close(teachers.policies["ema"].head.weight, before + 1.0)
    again = Teachers(tiny, {"frozen", "ema"}, 0.25)
    again.load_state_dict(teachers.state_dict())
    torch.testing.assert_close(again.policies["ema"].head.weight, before + 1.0)


def test_a_hint_that_does_not_fit_says_what_to_do(tiny: Policy) -> None:
    rows = table(tiny)
    with pytest.raises(ContextError, match=r"question q0: hint and episode take \d+ tokens and the model has 512"):
        score(tiny, rows, ["long " * 600, None, None, None])


def test_a_hint_that_just_fits(tiny: Policy) -> None:
    rows = table(tiny)
    opening, whole = (len(rows.trajectories[0].segments[0].tokens), len(rows.trajectories[0].tokens))
    first = rows.at(rows.trajectory == 0)
    need = whole - opening + len(tiny.codec.prompt("one two\n" + rows.trajectories[0].segments[0].text))
    tiny.attention.positions = need
    score(tiny, first, ["one two\n", None, None, None])
    tiny.attention.positions = need - 1
    with pytest.raises(ContextError, match=f"take {need} tokens and the model has {need - 1} positions"):
        score(tiny, first, ["one two\n", None, None, None])


def test_another_model_teaches_at_the_temperature_of_the_policy(tiny: Policy) -> None:
    other = copy.deepcopy(tiny)
    tiny.temperature = 0.5
    rows, teachers = table(tiny), Teachers(tiny, {"external"}, 0.1, other)
    torch.testing.assert_close(teachers.score("external", rows, None), teachers.score("live", rows, None))
    assert not any(p.requires_grad for p in other.model.parameters())


def test_a_hint_of_its_own_for_each_turn(tiny: Policy) -> None:
    """Each turn is scored behind its own hint, as if that were the hint of the whole trajectory."""
    rows = table(tiny)
    first, second = "one two three\n\n", "about Airport 7\n"
    expected = torch.where(rows.turn[:, None] == 0, *(score(tiny, rows, [h] * 4) for h in (first, second)))
    torch.testing.assert_close(score(tiny, rows, [(first, second)] * 4), expected, atol=1e-5, rtol=1e-5)
    mixed = score(tiny, rows, [(first, second), first, None, (second, second)])
    plain = score(tiny, rows, [None, first, None, second])
    own = rows.trajectory > 0
    torch.testing.assert_close(mixed[own], plain[own], atol=1e-5, rtol=1e-5)
    some = rows.at(rows.turn == 1)
    torch.testing.assert_close(score(tiny, some, [(None, second)] * 4), expected[rows.turn == 1], atol=1e-5, rtol=1e-5)


def test_copies_are_made_only_when_a_spec_asks(tiny: Policy) -> None:
    teachers = Teachers(tiny, {"live"}, 0.1)
    assert list(teachers.policies) == ["live"]
    assert teachers.averages == []
    assert teachers.state_dict() == {"copies": {}, "averages": []}
    ours = {p.data_ptr() for p in tiny.model.parameters()}
    for kind in ("ema", "frozen"):
        twin = Teachers(tiny, {"live", kind}, 0.1).policies[kind].model
        assert not ours & {p.data_ptr() for p in twin.parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_average_by_hand_over_many_steps(tiny: Policy, dtype: torch.dtype) -> None:
    """In bfloat16, steps of this size would all be rounded away if the average were kept as it is used."""
    tiny.model.to(dtype)
    weight = tiny.head.weight
    with torch.no_grad():
        weight.fill_(1.0)
        teachers = Teachers(tiny, {"ema", "frozen"}, 0.01)
        weight.fill_(1.25)
        for step in range(1, 101):
            teachers.follow()
            if step == 50:
                again = Teachers(tiny, {"ema", "frozen"}, 0.01)
                again.load_state_dict(teachers.state_dict())
                teachers = again
    expected = 1.25 - 0.25 * 0.99**100
    shown = teachers.policies["ema"].head.weight
    assert shown.dtype == dtype
    torch.testing.assert_close(shown.float().mean().item(), expected, atol=4e-3, rtol=0)
    assert teachers.policies["frozen"].head.weight.unique().item() == 1.0


def test_a_resumed_run_has_the_same_teachers_bit_for_bit(spec: Path) -> None:
    """The frozen teacher holds the weights of step 0 at every step; both are the same in a run that was cut off."""
    terms = "[{type: kl, weight: 0.1}, {type: distill, hint: hindsight, rows: policy, teacher: ema}]"
    chosen = [
        "objective.credit=[]",
        f"objective.terms={terms}",
        "train.steps=3",
        "train.keep_checkpoints=9",
        "train.evaluate_every=0",
    ]
    folder = train(load(spec, chosen)).folder / "checkpoints"
    states = {n: checkpoint.load(folder / f"step_{n}")[1]["teachers"]["copies"] for n in (1, 2, 3)}
    weights = load_file(folder / "step_3" / "model.safetensors")
    start = Policy.load(load(spec).model).model.state_dict()
    for name in start:
        assert torch.equal(states[3]["frozen"][name], start[name])
        assert not torch.equal(states[3]["ema"][name], start[name])
    for n in (2, 3):
        shutil.rmtree(folder / f"step_{n}")
    train(load(spec, chosen), resume=True)
    for n in (2, 3):
        got = checkpoint.load(folder / f"step_{n}")[1]["teachers"]["copies"]
        assert all(torch.equal(got[k][name], states[n][k][name]) for k in ("ema", "frozen") for name in start)
    again = load_file(folder / "step_3" / "model.safetensors")
    assert all(torch.equal(again[name], weights[name]) for name in weights)

"""Scoring: a hint changes what is in front of the question and nothing else, and teachers are never trained."""

import pytest
import torch

from sdsearch.errors import ContextError
from sdsearch.policy import Policy
from sdsearch.score import Teachers, score
from sdsearch.tokens import TokenTable
from sdsearch.trajectory import Group, Segment, Span, Trajectory
from sdsearch.types import Question


def table(policy: Policy) -> TokenTable:
    """Return the rows of two groups of two trajectories of different lengths."""
    groups = []
    for i in range(2):
        question = Question(f"q{i}", f"Which city does Airport {i} serve?", ("a",))
        prompt = f"Question: {question.text}\n"
        trajectories = []
        for text in (" Airport one </search>", " city </search>"):
            action = policy.encode(text * (i + 1))
            spans = (Span.QUERY,) * len(action)
            segments = (
                Segment("prompt", prompt, policy.prompt_tokens(prompt)),
                Segment("model", text, action, (-1.0,) * len(action), spans),
                Segment("observation", "seen", policy.encode("seen")),
                Segment("model", text, action, (-1.0,) * len(action), spans),
            )
            trajectories.append(Trajectory(question, segments, (), "answered", 0.0))
        groups.append(Group(question, tuple(trajectories)))
    kept = [t for g in groups for t in g.kept]
    return TokenTable.build(groups, [torch.ones(t.sampled).double().numpy() for t in kept])


@pytest.mark.parametrize("hints", [None, ["one two three\n\n", None, "x\n", "a much longer hint about Airport 7\n\n"]])
def test_rows_are_matched_by_token(tiny: Policy, hints: list[str | None] | None) -> None:
    rows = table(tiny)
    got = torch.log_softmax(score(tiny, rows, hints), -1).gather(1, rows.token[:, None])[:, 0]
    expected = []
    for i, trajectory in enumerate(rows.trajectories):
        hint = (hints[i] if hints else None) or ""
        opening = tiny.prompt_tokens(hint + trajectory.segments[0].text)
        tokens = [*opening]
        for segment in trajectory.segments[1:]:
            at = len(tokens)
            tokens += segment.tokens
            logprobs = tiny.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            expected += [logprobs[at + j - 1, t] for j, t in enumerate(segment.tokens) if segment.logprobs]
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_teachers_get_no_gradient_and_leave_the_policy_in_its_mode(tiny: Policy) -> None:
    rows = table(tiny)
    teachers = Teachers(tiny, {"frozen", "ema"}, 0.5)
    tiny.model.train()
    for kind in ("live", "frozen", "ema"):
        assert not teachers.score(kind, rows, None).requires_grad
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
    again.restore(teachers.state())
    torch.testing.assert_close(again.policies["ema"].head.weight, before + 1.0)


def test_a_hint_that_does_not_fit_says_what_to_do(tiny: Policy) -> None:
    rows = table(tiny)
    with pytest.raises(ContextError, match=r"question q0: hint and episode take \d+ tokens and the model has 512"):
        score(tiny, rows, ["long " * 600, None, None, None])

"""What a probe answers, against direct computations with the model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sdsearch.contracts.credit import Probe
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.core.usage import Usage
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ContextError
from sdsearch.learning.probe import ModelProbe
from sdsearch.learning.teachers import Teachers
from sdsearch.policy.critic import Critic
from sdsearch.policy.policy import Policy
from sdsearch.rollout.collect import EpisodeCollector

QUESTION = Question("q", "Where?", ("Rome", "Old Rome"))
GRAMMAR = SearchR1()


def told(policy: Policy, *texts: str, answered: bool = True) -> Trajectory:
    """Return an episode of a prompt and then actions and observations in turn, with made-up log-probabilities."""
    segments = [Segment("prompt", texts[0], policy.codec.prompt(texts[0]))]
    for i, text in enumerate(texts[1:]):
        tokens = policy.codec.encode(text)
        if i % 2:
            segments.append(Segment("observation", text, tokens))
        else:
            segments.append(Segment("model", text, tokens, (-1.0,) * len(tokens), policy.codec.spans(tokens, GRAMMAR)))
    actions = texts[1::2]
    kinds = ["answer" if answered and i == len(actions) - 1 else "search" for i in range(len(actions))]
    turns = tuple(Turn(kind, "text") for kind in kinds)
    return Trajectory(QUESTION, tuple(segments), turns, "answered" if answered else "max_turns", 1.0)


@pytest.fixture
def groups(tiny: Policy) -> list[Group]:
    """Return two groups: one of three episodes of which one is lost, one of a single episode."""
    long = told(tiny, "Q ", "<search> a </search>", " found b ", "<answer> Rome </answer>")
    short = told(tiny, "Q ", "<answer> Oslo </answer>")
    cut = told(tiny, "R ", "<search> c </search>", " found d ", answered=False)
    lost = replace(short, stop_reason="retriever_unavailable")
    return [Group(QUESTION, (long, lost, short)), Group(QUESTION, (cut,))]


def probe(policy: Policy, budget: int = 10_000, critic: Critic | None = None) -> ModelProbe:
    """Return a probe of one policy that can play nothing."""

    def none(questions: Sequence[Question]) -> None:
        raise AssertionError("nothing is to be played")

    play = EpisodeCollector(none, None, [QUESTION], 2, 7, 3)  # type: ignore[arg-type]
    return ModelProbe(play, GRAMMAR, Teachers(policy, {"frozen"}, 0.1), budget, critic)


def logprobs(policy: Policy, tokens: Sequence[int]) -> list[float]:
    """Return the log-probability of every token but the first, by the whole model in float64."""
    policy.model.eval()
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([list(tokens)])).logits[0].double() / policy.temperature
    return [float(logits[i - 1].log_softmax(0)[t]) for i, t in enumerate(tokens) if i]


def test_a_turn_without_a_teacher_has_no_number(tiny: Policy, groups: list[Group]) -> None:
    (first, *_), (whole, *_) = (
        probe(tiny).logprobs(groups, [hint, None, None]) for hint in (("It was Rome. ", None), "It was Rome. ")
    )
    size = len(groups[0].kept[0].actions[0].tokens)
    assert first[:size] == pytest.approx(whole[:size], abs=1e-4)
    assert np.isnan(first[size:]).all()


def test_an_answer_that_does_not_fit_behind_its_episode(tiny: Policy, groups: list[Group]) -> None:
    filler = "a " * (tiny.positions // 2)
    long = told(tiny, filler, "<search> a </search>", " b ", answered=False)
    need = len(long.tokens) + len(tiny.codec.encode(GRAMMAR.write("answer", "Rome")))
    assert need > tiny.positions
    with pytest.raises(ContextError, match=rf"question q: episode and answer take \d+ tokens .* {tiny.positions} pos"):
        probe(tiny).answer_logprobs([Group(QUESTION, (long,))])


def test_an_answer_that_just_fits_behind_its_episode(tiny: Policy) -> None:
    """The longest is the second answer, after all that was seen."""
    played = told(tiny, "Q ", "<search> a </search>", " found b ", answered=False)
    need = len(played.tokens) + len(tiny.codec.encode(GRAMMAR.write("answer", "Old Rome")))
    tiny.attention.positions = need
    (found,) = probe(tiny).answer_logprobs([Group(QUESTION, (played,))])
    assert np.isfinite(found).all()
    tiny.attention.positions = need - 1
    with pytest.raises(ContextError, match=f"take {need} tokens and the model has {need - 1} positions"):
        probe(tiny).answer_logprobs([Group(QUESTION, (played,))])


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_logprobs_are_the_models(tiny: Policy, groups: list[Group], budget: int) -> None:
    found = probe(tiny, budget).logprobs(groups)
    kept = [t for g in groups for t in g.kept]
    assert [len(f) for f in found] == [t.sampled for t in kept]
    for numbers, trajectory in zip(found, kept, strict=True):
        every, at = [0.0, *logprobs(tiny, trajectory.tokens)], 0
        expected = []
        for segment in trajectory.segments:
            expected += every[at : at + len(segment.logprobs)]
            at += len(segment.tokens)
        assert numbers == pytest.approx(expected, abs=1e-4)


def test_logprobs_with_hints(tiny: Policy, groups: list[Group]) -> None:
    first, second, third = probe(tiny).logprobs(groups, ["It was Rome. ", None, None], "frozen")
    long = groups[0].kept[0]
    hinted = [*tiny.codec.prompt("It was Rome. Q "), *long.tokens[len(long.segments[0].tokens) :]]
    every = logprobs(tiny, hinted)
    start = len(tiny.codec.prompt("It was Rome. Q ")) - 1
    action = len(long.segments[1].tokens)
    assert first[:action] == pytest.approx(every[start : start + action], abs=1e-4)
    assert np.isnan(second).all()
    assert np.isnan(third).all()


@pytest.mark.parametrize("budget", [1, 10_000])
def test_answers_are_scored_at_every_turn(tiny: Policy, groups: list[Group], budget: int) -> None:
    found = probe(tiny, budget).answer_logprobs(groups)
    assert [f.shape for f in found] == [(3, 2), (2, 2), (2, 2)]
    assert np.isnan(found[0][2]).all()
    assert np.isnan(found[1][1]).all()
    assert np.isfinite(found[2]).all()
    written = tiny.codec.encode("<answer> Old Rome </answer>")
    inside = [i for i, s in enumerate(tiny.codec.spans(written, GRAMMAR)) if s == Span.ANSWER]
    long = groups[0].kept[0]
    seen = [t for s in long.segments[:3] for t in s.tokens]
    every = logprobs(tiny, [*seen, *written])
    expected = np.mean([every[len(seen) - 1 + i] for i in inside])
    assert found[0][1, 1] == pytest.approx(expected, abs=1e-4)


def test_a_critic_learns_what_it_is_told(tiny: Policy, groups: list[Group]) -> None:
    critic = Critic(tiny, 1e-2, 1.0)
    asked = probe(tiny, 60, critic)
    before = [p.clone() for p in tiny.model.parameters()]
    assert [len(v) for v in asked.values(groups)] == [t.sampled + 1 for g in groups for t in g.kept]
    assert all((v == 0).all() for v in asked.values(groups))
    targets = [np.full(t.sampled, 0.5 + i) for i, t in enumerate(t for g in groups for t in g.kept)]
    targets[0][0] = np.nan
    for _ in range(60):
        critic.learn(groups, targets, 60)
    for value, target in zip(asked.values(groups), targets, strict=True):
        assert np.nanmax(np.abs(value[:-1] - target)) < 0.3
    assert all(torch.equal(p, b) for p, b in zip(tiny.model.parameters(), before, strict=True))


def test_a_critic_comes_back_from_its_state(tiny: Policy, groups: list[Group]) -> None:
    one, two = Critic(tiny, 1e-2, 1.0), Critic(tiny, 1e-2, 1.0)
    targets = [np.ones(t.sampled) for g in groups for t in g.kept]
    one.learn(groups, targets, 100)
    two.load_state_dict(deepcopy(one.state_dict()))  # as from a file: the optimiser would share its averages
    for critic in (one, two):
        critic.learn(groups, targets, 100)
    for a, b in zip(one.values(groups, 100), two.values(groups, 100), strict=True):
        assert np.array_equal(a, b)


def test_nobody_answers_without_a_model(groups: list[Group]) -> None:
    with pytest.raises(ValueError, match="expected a training step or a run"):
        Probe().logprobs(groups)
    with pytest.raises(ValueError, match="continuations"):
        Probe().continue_from([], 1)


def test_a_probe_has_the_step_and_its_seed(tiny: Policy) -> None:
    asked = probe(tiny)
    assert (asked.step, asked.seed) == (3, 7)


def test_spent_counts_what_was_played(tiny: Policy, groups: list[Group]) -> None:
    spent = Usage()
    spent.add(groups)
    assert spent.rollouts == 4
    assert spent.tokens == sum(t.sampled for g in groups for t in g.trajectories)
    spent.add(groups[:1], [1])
    long = groups[0].trajectories[0]
    assert spent.rollouts == 7
    assert spent.tokens == sum(t.sampled for g in groups for t in g.trajectories) + len(long.actions[1].tokens)
    assert spent.plus([Usage(1, 2, 3), Usage(1, 2, 5)]).record() == {
        "rollouts": 9.0,
        "tokens": spent.tokens + 4,
        "seconds": 5.0,
    }

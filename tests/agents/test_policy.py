"""The policy as an agent: what it records is what the model saw, and limits end episodes instead of cutting text."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from sdsearch.agents.policy import PolicyAgent
from sdsearch.contracts.engine import Completion, LanguageModel, Model, Prompt, Sampling
from sdsearch.core.question import Question
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ContextError, ModelError
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.session import open_session
from sdsearch.spec import load
from sdsearch.testing import check_agent


def test_segments_are_what_the_model_saw(spec: Path) -> None:
    experiment = load(spec)
    session = open_session(experiment)
    groups = collect(experiment.environment.open(), session, experiment.questions("train"), 2, seed=3)
    policy = Policy.load(experiment.model)
    for trajectory in (t for g in groups for t in g.trajectories):
        assert policy.codec.decode(trajectory.tokens) == "".join(s.text for s in trajectory.segments)
        logprobs = policy.model(torch.tensor([trajectory.tokens])).logits[0].log_softmax(-1)
        at = 0
        for segment in trajectory.segments:
            for i, logprob in enumerate(segment.logprobs):
                assert logprob == pytest.approx(logprobs[at + i - 1, segment.tokens[i]].item(), abs=1e-4)
            at += len(segment.tokens)
        assert len(trajectory.actions) == len(trajectory.turns)


def test_a_full_context_ends_the_episode(spec: Path) -> None:
    experiment = load(spec, ["sampling.context=40", "environment.max_turns=9"])
    session = open_session(experiment)
    groups = collect(experiment.environment.open(), session, experiment.questions("train"), 2, seed=0)
    episodes = [t for g in groups for t in g.trajectories]
    assert {t.stop_reason for t in episodes} == {"context_full"}
    assert all(t.segments[-1].role != "model" or len(t.tokens) <= 40 for t in episodes)


def test_a_prompt_that_does_not_fit_says_what_to_do(spec: Path) -> None:
    session = open_session(load(spec, ["sampling.context=16"]))
    session.reset([Question("q", "?", ("a",))], [0])
    with pytest.raises(
        ContextError, match=r"the prompt takes \d+ tokens and sampling.context is 16: raise sampling.context"
    ):
        session.act([0], ["Question: " + "which city " * 20])


@pytest.mark.parametrize(
    ("model", "sampling", "message"),
    [
        ({"name": "/no/such/model"}, {}, "could not be loaded"),
        ({}, {"context": 4096}, "sampling.context is 4096 and the model has 512 positions"),
        ({"chat": True}, {}, "no chat template"),
    ],
)
def test_a_model_without_what_is_needed_is_refused(
    spec: Path, model: dict[str, object], sampling: dict[str, object], message: str
) -> None:
    settings = Model.model_validate({"name": str(spec.parent / "model"), "device": "cpu", **model})
    with pytest.raises(ModelError, match=message):
        language_model(settings, Sampling.model_validate(sampling), Policy.load(settings))


def test_pickled_weights_are_refused(spec: Path) -> None:
    folder = spec.parent / "model"
    torch.save({"anything": torch.zeros(1)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        Policy.load(Model(name=str(folder), device="cpu"))


def test_it_acts_with_the_model_that_it_is_given(spec: Path) -> None:
    assert PolicyAgent.trainable
    assert PolicyAgent().model_dump() == {"type": "policy"}
    with pytest.raises(ModelError, match="opened without a model"):
        PolicyAgent().open(SearchR1())
    experiment = load(spec)
    model = language_model(experiment.model, experiment.sampling, Policy.load(experiment.model))
    check_agent(experiment.agent, model=model)


def test_turns_tell_why_they_ended_and_who_wrote_them(spec: Path) -> None:
    experiment = load(spec)
    model = language_model(experiment.model, experiment.sampling, Policy.load(experiment.model))
    session = experiment.agent.open(experiment.environment.grammar, model)
    model.sampler.sync(17)
    (group,) = collect(experiment.environment.open(), session, experiment.questions("train")[:1], 4, seed=0)
    turns = [turn for t in group.trajectories for turn in t.turns]
    assert {turn.version for turn in turns} == {17}
    sampled = [action for t in group.trajectories for action in t.actions]
    for turn, action in zip(turns, sampled, strict=True):
        assert turn.finish_reason in ("stop", "end", "length")
        assert (turn.finish_reason == "length") == (len(action.tokens) == 8 and turn.finish_reason != "end")


def test_what_an_episode_draws_depends_on_nothing_beside_it(spec: Path) -> None:
    """The same question and attempt, alone, in a larger batch, and in another order."""
    experiment = load(spec)
    session, env_factory = open_session(experiment), experiment.environment.open()
    questions = list(experiment.questions("train"))
    together = {g.question.id: g.trajectories for g in collect(env_factory, session, questions, 3, seed=4)}
    backwards = collect(env_factory, session, questions[::-1], 2, seed=4)
    alone = [collect(env_factory, session, [q], 1, seed=4)[0] for q in questions]
    for group in (*backwards, *alone):
        expected = [t.tokens for t in together[group.question.id][: len(group.trajectories)]]
        assert [t.tokens for t in group.trajectories] == expected
    assert len({t.tokens for ts in together.values() for t in ts}) > 10
    assert collect(env_factory, session, questions[:1], 3, seed=5)[0].trajectories != together["0"]


class Noting:
    """A sampler that notes the seeds of its prompts, and writes a token."""

    def __init__(self) -> None:
        self.seeds: dict[tuple[int, int], int] = {}

    def sync(self, version: int) -> None: ...

    def reset(self, greedy: bool = False) -> None: ...

    def sample(self, prompts: Sequence[Prompt], stops: Sequence[str]) -> list[Completion]:
        self.seeds |= {(p.row, len(p.tokens)): p.seed for p in prompts}
        return [Completion((5,), (-1.0,), "length", 0) for _ in prompts]


def test_every_turn_of_every_row_draws_from_a_seed_of_its_own(tiny: Policy) -> None:
    questions = [Question(str(i), "?", ("a",)) for i in range(3)]
    noted = []
    for rows in ([0, 1, 2], [2, 0, 1]):
        sampler = Noting()
        session = PolicyAgent().open(SearchR1(), LanguageModel(tiny.codec, sampler, 4, 400))
        session.reset(questions, [10, 20, 30])
        for turn in range(3):
            session.act(rows, ["Question: x\n" if turn == 0 else "seen"] * 3)
        noted.append(sampler.seeds)
    assert noted[0] == noted[1], "in whatever order rows are given"
    assert len(set(noted[0].values())) == 9

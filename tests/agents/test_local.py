"""The local agent: what it records is what the model saw, and limits end episodes instead of cutting text."""

from pathlib import Path

import pytest
import torch

from sdsearch.agents.local import Local
from sdsearch.core.question import Question
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ContextError, ModelError
from sdsearch.rollout.collect import collect
from sdsearch.rollout.environment import SearchEnvFactory
from sdsearch.spec import load


def test_segments_are_what_the_model_saw(spec: Path) -> None:
    experiment = load(spec)
    session = experiment.agent.open(experiment.environment.protocol)
    groups = collect(SearchEnvFactory(experiment.environment), session, experiment.data.train.questions(), 2, seed=3)
    policy = session.policy  # type: ignore[attr-defined]
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
    experiment = load(spec, ["agent.context=40", "environment.max_turns=9"])
    session = experiment.agent.open(experiment.environment.protocol)
    groups = collect(SearchEnvFactory(experiment.environment), session, experiment.data.train.questions(), 2, seed=0)
    episodes = [t for g in groups for t in g.trajectories]
    assert {t.stop_reason for t in episodes} == {"context_full"}
    assert all(t.segments[-1].role != "model" or len(t.tokens) <= 40 for t in episodes)


def test_a_prompt_that_does_not_fit_says_what_to_do(spec: Path) -> None:
    session = load(spec, ["agent.context=16"]).agent.open(SearchR1())
    session.reset([Question("q", "?", ("a",))], 0)
    with pytest.raises(ContextError, match=r"the prompt takes \d+ tokens and agent.context is 16: raise agent.context"):
        session.act([0], ["Question: " + "which city " * 20])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "/no/such/model"}, "could not be loaded"),
        ({"context": 4096}, "agent.context is 4096 and the model has 512 positions"),
        ({"chat": True}, "no chat template"),
    ],
)
def test_a_model_without_what_is_needed_is_refused(spec: Path, change: dict[str, object], message: str) -> None:
    settings = {"model": str(spec.parent / "model"), "device": "cpu", **change}
    with pytest.raises(ModelError, match=message):
        Local.model_validate(settings).open(SearchR1())


def test_pickled_weights_are_refused(spec: Path) -> None:
    folder = spec.parent / "model"
    torch.save({"anything": torch.zeros(1)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        Local(model=str(folder), device="cpu").open(SearchR1())

"""What cannot fit is refused before the first rollout, with the numbers."""

from pathlib import Path
from typing import Any

import pytest

from sdsearch.agents.local import LocalSession
from sdsearch.core.question import Question
from sdsearch.envs.search import SearchVectorEnv
from sdsearch.errors import ContextError
from sdsearch.learning.preflight import longest_prompt, preflight
from sdsearch.learning.train import train
from sdsearch.spec import Experiment, load


def opened(spec: Path, *overrides: str) -> tuple[Experiment, LocalSession, int]:
    """Return an experiment, its session, and the tokens of its longest prompt."""
    experiment = load(spec, overrides)
    session = experiment.agent.open(experiment.environment.protocol)
    assert isinstance(session, LocalSession)
    _, prompt = longest_prompt(session, experiment.data.train.questions())
    return experiment, session, len(prompt.tokens)


def check(experiment: Experiment, session: LocalSession) -> str | None:
    return preflight(experiment, session, experiment.data.train.questions(), experiment.data.test.questions())


def test_the_longest_prompt_is_the_one_with_the_most_tokens(spec: Path) -> None:
    _, session, _ = opened(spec)
    asked = [Question("short", "Rome?", ("x",)), Question("long", "Which city does Airport 4 serve? " * 9, ("x",))]
    question, prompt = longest_prompt(session, asked)
    assert question.id == "long"
    assert prompt.tokens == session.policy.codec.prompt(session.grammar.prompt(asked[1]))


def test_a_prompt_and_one_turn_must_fit_into_the_context(spec: Path) -> None:
    _, _, prompt = opened(spec)
    just = opened(spec, f"agent.context={prompt + 8}")
    check(just[0], just[1])
    short = opened(spec, f"agent.context={prompt + 7}")
    with pytest.raises(ContextError) as caught:
        check(short[0], short[1])
    said = str(caught.value)
    assert (
        f"the prompt takes {prompt} tokens and a turn may take 8 (agent.max_new_tokens), together {prompt + 8}" in said
    )
    assert f"agent.context is {prompt + 7}: raise agent.context (the model has 512 positions)" in said


def test_the_shortest_hint_must_fit_into_the_model(spec: Path) -> None:
    header = "Earlier attempts " + "Airport " * 600
    experiment, session, prompt = opened(spec, f"objective.terms.1.hint.header={header}")
    with pytest.raises(ContextError) as caught:
        check(experiment, session)
    asked = session.grammar.prompt(experiment.data.train.questions()[0])
    block = f"{header.strip()}\nCORRECT: a\nINCORRECT: a\nCORRECT: a\n\n"
    hinted = len(session.policy.codec.prompt(block + asked))
    said = str(caught.value)
    assert f"the prompt takes {prompt} tokens, {hinted} with the shortest hint for a group of 3" in said
    assert f"together {hinted + 8}, and the model has 512 positions: lower train.group" in said
    silent = "objective.terms.1.weight=0"
    check(*opened(spec, f"objective.terms.1.hint.header={header}", silent)[:2])


def test_a_hint_that_may_become_too_long_is_told(spec: Path) -> None:
    assert check(*opened(spec)[:2]) is None
    long = ("train.group=16", "environment.max_turns=6")
    told = check(*opened(spec, *long)[:2])
    assert told is not None
    assert "and the model has 512 positions" in told
    limited = opened(spec, *long, "objective.terms.1.hint.max_queries=1", "objective.terms.1.hint.max_characters=2")
    assert check(*limited[:2]) is None


def test_training_stops_before_any_rollout(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    reset = SearchVectorEnv.reset

    def counted(self: SearchVectorEnv, **options: Any) -> Any:
        begun.append(self.num_envs)
        return reset(self, **options)

    monkeypatch.setattr(SearchVectorEnv, "reset", counted)
    with pytest.raises(ContextError, match=r"agent\.context is 16:"):
        train(load(spec, ["agent.context=16"]))
    assert begun == []
    train(load(spec, ["train.steps=1", "train.group=2", "evaluate.questions=1", "name=played"]))
    assert begun != []

"""What cannot fit is refused before the first rollout, with the numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

import sdsearch.learning.preflight as preflight_module
from sdsearch.contracts.engine import Codec, LanguageModel
from sdsearch.contracts.environment import EnvFactory
from sdsearch.core.question import Hit, Question
from sdsearch.core.trajectory import Segment
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.errors import ContextError, RetrieverUnavailable
from sdsearch.learning.preflight import Opening, attempt, longest_prompt, preflight
from sdsearch.learning.train import train
from sdsearch.policy.policy import Policy, language_model
from sdsearch.spec import Experiment, load


class Ready(NamedTuple):
    """An experiment with its opened model, and its longest prompt."""

    experiment: Experiment
    model: LanguageModel
    opening: Opening

    @property
    def prompt(self) -> int:
        """Its tokens."""
        return len(self.opening.prompt.tokens)


def opened(spec: Path, *overrides: str) -> Ready:
    """Open what a preflight needs."""
    experiment = load(spec, overrides)
    model = language_model(experiment.model, experiment.sampling, Policy.load(experiment.model))
    opening = longest_prompt(experiment.environment.open(), model.codec, experiment.questions("train"))
    return Ready(experiment, model, opening)


def check(ready: Ready) -> str | None:
    return preflight(ready.experiment, ready.model, 512, ready.opening, ready.opening)


def test_the_longest_prompt_is_the_one_with_the_most_tokens(spec: Path) -> None:
    experiment, model, _ = opened(spec)
    asked = [Question("short", "Rome?", ("x",)), Question("long", "Which city does Airport 4 serve? " * 9, ("x",))]
    question, prompt = longest_prompt(experiment.environment.open(), model.codec, asked)
    assert question.id == "long"
    assert prompt.tokens == model.codec.prompt(experiment.environment.grammar.prompt(asked[1]))


def test_of_many_prompts_only_the_longest_are_tokenised(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, model, _ = opened(spec)
    monkeypatch.setattr(preflight_module, "LONGEST", 3)
    monkeypatch.setattr(preflight_module, "AT_ONCE", 2)
    asked = [Question(str(n), "Rome " * n, ("x",)) for n in (4, 1, 9, 2, 7, 3, 5)]
    seen: list[str] = []

    class Counted:
        def prompt(self, text: str) -> tuple[int, ...]:
            seen.append(text)
            return model.codec.prompt(text)

    question, _ = longest_prompt(experiment.environment.open(), cast("Codec", Counted()), asked)
    assert question.id == "9"
    assert [text.count("Rome") for text in seen] == [9, 7, 5]


class Down:
    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        raise RetrieverUnavailable("host 10.0.0.7 is down")


def test_a_prompt_without_what_the_search_should_find_is_not_measured(spec: Path) -> None:
    class Begun(EnvFactory):
        def __call__(self, num_envs: int) -> SearchVectorEnv:
            return SearchVectorEnv(num_envs, questions=(), searcher=Down(), grammar="rag")

    with pytest.raises(RetrieverUnavailable, match="is down"):
        longest_prompt(Begun(), opened(spec).model.codec, [Question("0", "Where?", ("Rome",))])


def test_the_attempts_that_are_tried() -> None:
    opening = Opening(Question("q", "Where?", ("Rome", "Old Rome")), Segment("prompt", "Where?", (1, 2)))
    right, wrong = (attempt(opening, ["a", "b"], right) for right in (True, False))
    assert [(s.role, s.text) for s in right.segments] == [
        ("prompt", "Where?"),
        *(("model", "a"), ("observation", ""), ("model", "b"), ("observation", ""), ("model", "Rome")),
    ]
    assert wrong.segments == right.segments[:5]
    assert [[(t.kind, t.text) for t in each.turns] for each in (right, wrong)] == [
        [("search", "a"), ("search", "b"), ("answer", "Rome")],
        [("search", "a"), ("search", "b")],
    ]
    assert [(t.stop_reason, t.reward, t.metrics["f1"], t.sampled) for t in (right, wrong)] == [
        ("answered", 1, 1, 3),
        ("max_turns", 0, 0, 2),
    ]


def test_a_prompt_and_one_turn_must_fit_into_the_context(spec: Path) -> None:
    prompt = opened(spec).prompt
    just = opened(spec, f"sampling.context={prompt + 8}")
    check(just)
    short = opened(spec, f"sampling.context={prompt + 7}")
    with pytest.raises(ContextError) as caught:
        check(short)
    said = str(caught.value)
    assert (
        f"the prompt takes {prompt} tokens and a turn may take 8 (sampling.max_new_tokens), together {prompt + 8}"
        in said
    )
    assert f"sampling.context is {prompt + 7}: raise sampling.context (the model has 512 positions)" in said


def test_the_shortest_hint_must_fit_into_the_model(spec: Path) -> None:
    header = "Earlier attempts " + "Airport " * 600
    ready = opened(spec, f"objective.terms.1.hint.header={header}")
    with pytest.raises(ContextError) as caught:
        check(ready)
    asked = ready.opening.prompt.text
    block = f"{header.strip()}\nCorrect: a\nIncorrect: a\nCorrect: a\n\n"
    hinted = len(ready.model.codec.prompt(block + asked))
    said = str(caught.value)
    assert f"the prompt takes {ready.prompt} tokens, {hinted} with the shortest hint for a group of 3" in said
    assert f"together {hinted + 8}, and the model has 512 positions: lower train.group" in said
    experiment, model, opening = ready
    preflight(experiment, model, hinted + 8, opening, opening)
    with pytest.raises(ContextError, match=f"together {hinted + 8}, and the model has {hinted + 7} positions"):
        preflight(experiment, model, hinted + 7, opening, opening)
    silent = "objective.terms.1.weight=0"
    check(opened(spec, f"objective.terms.1.hint.header={header}", silent))


def test_a_hint_that_may_become_too_long_is_told(spec: Path) -> None:
    assert check(opened(spec)) is None
    long = ("train.group=16", "environment.max_turns=6")
    told = check(opened(spec, *long))
    assert told is not None
    assert "and the model has 512 positions" in told
    limited = opened(spec, *long, "objective.terms.1.hint.max_queries=1", "objective.terms.1.hint.max_characters=2")
    assert check(limited) is None


@pytest.mark.parametrize("text", ["<search> x </search>", "</answer>", "<information>", "<|im_end|>"])
def test_prompts_and_answers_may_hold_what_the_grammar_means(spec: Path, text: str) -> None:
    """An instruction that helps shows the tags; queries must not be made of it."""
    instruction = json.dumps(f"Write {text} to search.\n")
    changed = spec.parent / "questions.jsonl"
    changed.write_text(changed.read_text().replace("Rome", text.replace('"', "")))
    ready = opened(spec, f"environment.protocol={{type: search_r1, instruction: {instruction}}}")
    check(ready)
    assert text in ready.opening.prompt.text
    folder = train(load(spec, ["train.steps=1", "train.group=2", "evaluate.questions=1"])).folder
    assert (folder / "trajectories" / "step_1.jsonl").exists()


def test_training_stops_before_any_rollout(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stepped: list[int] = []
    step = SearchVectorEnv.step

    def counted(self: SearchVectorEnv, actions: Sequence[str]) -> Any:
        stepped.append(self.num_envs)
        return step(self, actions)

    monkeypatch.setattr(SearchVectorEnv, "step", counted)
    monkeypatch.setattr(Exact, "open", lambda _: pytest.fail("built an index for what cannot be played"))
    with pytest.raises(ContextError, match=r"sampling\.context is 16:"):
        train(load(spec, ["sampling.context=16"]))
    assert stepped == []
    monkeypatch.undo()
    monkeypatch.syspath_prepend(spec.parent)
    monkeypatch.setattr(SearchVectorEnv, "step", counted)
    train(load(spec, ["train.steps=1", "train.group=2", "evaluate.questions=1", "name=played"]))
    assert stepped != []

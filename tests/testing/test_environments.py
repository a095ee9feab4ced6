"""The contract of environments: search keeps it, so does a game that is none and can be trained in; faults are told."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import sdsearch  # noqa: F401  (registers the environment)
from sdsearch.config.component import resolve
from sdsearch.contracts.agent import Reply
from sdsearch.contracts.environment import Environment
from sdsearch.core.question import Question, seeded
from sdsearch.core.trajectory import Fork, Group, Segment, Trajectory, Turn, read_groups
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.search import Search
from sdsearch.errors import ComponentError, SpecError
from sdsearch.learning.train import train
from sdsearch.report.table import outcome
from sdsearch.rollout.collect import continue_from
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import load
from sdsearch.testing import check_environment, example_questions

PAGE = (Path(__file__).parents[2] / "docs" / "environment.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+ (.+?)\n(.*?)^```$", PAGE, re.M | re.S))
SEARCH = Search(retriever=BM25.model_validate({"corpus": {"type": "atlas", "countries": 5}}))


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of the page, as a file on the path, beside its spec."""
    (tmp_path / "guess.py").write_text(BLOCKS["file=guess.py"])
    (tmp_path / "guess.yaml").write_text(BLOCKS["guess"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guess", raising=False)
    module = sys.modules[resolve(Environment, "guess:Guess").__module__]
    yield module
    sys.modules.pop("guess", None)


def test_the_random_agent_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS["random agent"].split("\n\n", 1)[1].splitlines()) <= 10
    exec(compile(BLOCKS["random agent"], "docs/environment.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.count("Question: ") == 3
    assert said.count("[max_turns, reward 0]") == 3


@pytest.mark.parametrize("settings", [{}, {"on_invalid": "end", "max_turns": 2}, {"max_turns": 1}, {"reward": "f1"}])
def test_search_keeps_the_contract(settings: dict[str, Any]) -> None:
    environment = Search.model_validate({**SEARCH.model_dump(), **settings})
    check_environment(environment)
    check_environment(environment, example_questions()[:1])


def test_a_game_that_is_no_search_keeps_the_contract(game: Any) -> None:
    check_environment(game.Guess())
    check_environment(game.Guess(most=3, max_turns=1))


def test_it_can_be_trained_in(game: Any, tmp_path: Path) -> None:
    # Random weights are never right, so that the reward alone moves nothing.
    experiment = load("guess.yaml", ["objective.terms=[clipped_pg, entropy]"])
    assert [len(experiment.questions(split)) for split in ("train", "test")] == [495, 5]
    folder = train(experiment).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 1]
    assert "tries" in lines[0]["evaluate"]
    assert "exact_match" not in lines[0]["evaluate"]
    assert np.isfinite(lines[1]["train"]["loss"])
    groups = list(read_groups(folder / "trajectories" / "step_1.jsonl"))
    assert {t.segments[0].text for g in groups for t in g.trajectories} == {"Guess a number below 8.\n"}
    assert all(len(t.turns) == len(t.actions) for g in groups for t in g.trajectories)
    assert {t.turns[0].version for g in groups for t in g.trajectories} == {0}
    assert "<td>tries</td>" in (folder / "report.html").read_text()
    train(load("guess.yaml", ["objective.terms=[clipped_pg, entropy]", "train.steps=2"]), resume=True)


def test_what_cannot_go_on_from_recorded_episodes_says_so(game: Any) -> None:
    branching = ["train.rollouts={type: tree, trees: 2}", "environment.max_turns=3", "name=tree"]
    with pytest.raises(ComponentError, match=r"guess:Guesses cannot go on from recorded episodes: expected `state_at"):
        train(load("guess.yaml", branching))


FAULTS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "four things": (
        lambda env, given: given[:4],
        "expected observations, rewards, terminations, truncations and infos",
    ),
    "no metrics": (
        lambda env, given: (*given[:4], {k: v for k, v in given[4].items() if "metrics" not in k}),
        "without metrics in its info, expected turns, stop_reason, outage, metrics",
    ),
    "short": (lambda env, given: (given[0][:-1], *given[1:]), r"gave the observations .*, expected \d+ texts"),
    "no texts": (
        lambda env, given: ([None] * env.num_envs, *given[1:]),
        r"gave the observations \[None, .*, expected \d+ texts",
    ),
    "no infos": (lambda env, given: (*given[:4], None), "gave the infos None, expected a mapping"),
    "one reward": (lambda env, given: (given[0], 1.0, *given[2:]), r"gave the rewards .*, expected \d+ finite numbers"),
    "square": (
        lambda env, given: (given[0], given[1][:, None], *given[2:]),
        r"gave the rewards \[\[.*, expected \d+ finite",
    ),
    "not a number": (lambda env, given: (given[0], given[1] + np.nan, *given[2:]), r"gave the rewards \[nan"),
    "numbers": (
        lambda env, given: (*given[:3], given[3] * 1, given[4]),
        r"gave the truncations .*, expected \d+ booleans",
    ),
    "turns lost": (lambda env, given: (*given[:4], without_turns(given[4])), r"0 turns of (the )?\d+ actions"),
}


def without_turns(infos: dict[str, Any]) -> dict[str, Any]:
    """Return infos whose episodes have no turn."""
    if "turns" in infos:
        infos["turns"] = np.array([()] * len(infos["turns"]) + [None], dtype=object)[:-1]
    return infos


@pytest.mark.parametrize("fault", FAULTS)
def test_an_environment_that_breaks_the_contract_is_told_by_the_check_and_in_training(
    game: Any, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    broken, said = FAULTS[fault]
    step = game.GuessEnv.step
    monkeypatch.setattr(game.GuessEnv, "step", lambda env, actions: broken(env, step(env, actions)))
    with pytest.raises(AssertionError, match=said):
        check_environment(game.Guess())
    with pytest.raises(ComponentError, match=said):
        train(load("guess.yaml"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"turns": (("answer", "5"),)}, "expected a list or tuple of `Turn`s"),
        ({"stop_reason": ""}, "with stop_reason '', expected a text that is not empty"),
        ({"outage": None}, "with outage None, expected a text"),
        ({"metrics": {"tries": "many"}}, "with metrics .*, expected finite numbers by name"),
        ({"metrics": {"tries": float("nan")}}, "with metrics .*, expected finite numbers by name"),
    ],
)
def test_a_last_info_that_cannot_be_recorded_is_told(
    game: Any, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], said: str
) -> None:
    final = game.GuessEnv.final
    monkeypatch.setattr(game.GuessEnv, "final", lambda env, state: {**final(env, state), **wrong})
    with pytest.raises(AssertionError, match=said):
        check_environment(game.Guess())
    with pytest.raises(ComponentError, match=said):
        train(load("guess.yaml"))


def test_what_reset_or_the_environment_lacks_is_told(game: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(game.GuessEnv, "reset", lambda env, **given: ("a", "b", "c"))
        with pytest.raises(ComponentError, match=r"reset gave \('a', 'b', 'c'\), expected texts and infos"):
            train(load("guess.yaml"))
    for name in ("save", "restore", "end"):
        with monkeypatch.context() as patch:
            patch.delattr(game.GuessEnv, name)
            with pytest.raises(ComponentError, match=f"GuessEnv has no {name}, expected reset, step, save, restore"):
                train(load("guess.yaml"))


def test_an_end_from_outside_that_ends_nothing_is_told(game: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on(game, monkeypatch)
    prompt = "sampling.context=40"
    with pytest.raises(ComponentError, match=r"goes on with the episodes \[.*\], expected `end` to end them"):
        train(load("guess.yaml", [prompt, "environment.max_turns=9"]))


def test_continuations_share_no_state(game: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The game plays on in the very mapping that `restore` is given, as an author may well write it."""
    asked = seeded(1)
    closed: list[int] = []
    monkeypatch.setattr(game.GuessEnv, "close", lambda env: closed.append(env.num_envs), raising=False)
    state = {"number": 3, "shown": "\ntoo low\n", "turns": [["search", "1"]], "stop": "", "paid": False}
    monkeypatch.setattr(game.Guesses, "state_at", lambda self, trajectory, turn: state)
    factory, session = game.Guess().open(), Scripted(["<search> 2 </search>"], ["<answer> 3 </answer>"])
    moves = (Segment("prompt", "Guess"), Segment("model", "<search> 1 </search>"), Segment("observation", "too low"))
    played = Trajectory(asked[0], (*moves, Segment("model", "hm")), (Turn("search", "1"),), "max_turns", 0.0)
    (group,) = continue_from(factory, session, [Fork(played, 1)], 2, seed=0)
    one = [("search", "1"), ("search", "2"), ("answer", "3")]
    assert [[(turn.kind, turn.text) for turn in t.turns] for t in group.trajectories] == [one, one]
    assert [t.reward for t in group.trajectories] == [1.0, 1.0]
    assert closed == [2]


class Scripted:
    """Does the same in each row, turn by turn; see `sdsearch.contracts.agent.AgentSession`."""

    def __init__(self, *moves: Sequence[str]) -> None:
        self.moves = iter(moves)

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None: ...

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        (move,) = next(self.moves)
        return [Reply(Segment("observation", text), Segment("model", move)) for text in texts]

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        return self.act(rows, [past[-1].text for past in pasts])


def test_figures_that_come_and_go_are_averaged_and_tabled() -> None:
    """An environment may know a figure of some episodes only."""
    question = Question("q", "", ("a",))

    def evaluated(*metrics: dict[str, float], stop: str = "answered") -> dict[str, float]:
        return mean([Group(question, tuple(Trajectory(question, (), (), stop, 0.5, m) for m in metrics))])

    before, after = evaluated({"off": 1.0}, {}, {"off": 3.0}), evaluated({})
    assert before == {"off": 2.0, "reward": 0.5, "outage": 0.0}
    lost = evaluated({"off": 1.0}, stop="retriever_unavailable")
    assert (set(lost), lost["outage"]) == ({"off", "reward", "outage"}, 1.0)
    table = outcome([{"step": 0, "evaluate": before}, {"step": 1, "evaluate": after}])
    assert table is not None
    assert {name: [str(v) for v in values] for name, values in table.rows}["off"] == ["2.0", "nan"]


def pays_twice(game: Any, patch: pytest.MonkeyPatch) -> None:
    step = game.GuessEnv.step

    def generous(env: Any, actions: Any) -> Any:
        shown, rewards, *rest = step(env, actions)
        return shown, rewards + [bool(g["stop"]) for g in env.games], *rest

    patch.setattr(game.GuessEnv, "step", generous)


def talks_on(game: Any, patch: pytest.MonkeyPatch) -> None:
    play = game.GuessEnv.play

    def last_word(env: Any, state: Any, text: str) -> None:
        play(env, state, text)
        state["shown"] = state["shown"] or "The end."

    patch.setattr(game.GuessEnv, "play", last_word)


def draws(game: Any, patch: pytest.MonkeyPatch) -> None:
    count = iter(range(10**6))
    patch.setattr(game.random.Random, "randrange", lambda self, most: next(count) % most)


def looks_aside(game: Any, patch: pytest.MonkeyPatch) -> None:
    step = game.GuessEnv.step

    def nosy(env: Any, actions: Any) -> Any:
        shown, *rest = step(env, actions)
        return tuple(text and text + "".join(actions) for text in shown), *rest

    patch.setattr(game.GuessEnv, "step", nosy)


def forgets(game: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(game.GuessEnv, "save", lambda env, row: {**env.games[row], "number": 0, "turns": []})


def loses_the_end(game: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(game.GuessEnv, "save", lambda env, row: {**env.games[row], "stop": ""})


def goes_on(game: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(game.GuessEnv, "end", lambda env, row, reason: None)


def misremembers(game: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(game.Guesses, "state_at", lambda self, trajectory, turn: {"turn": turn})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pays_twice, "which has ended: expected '' and 0"),
        (talks_on, "got 'The end.' at the end of episode"),
        (draws, r"played again with the same actions|alone"),
        (looks_aside, "beside episodes that act otherwise|alone"),
        (forgets, "after a restore before turn"),
        (goes_on, "got no end of an episode in the step after `end`"),
        (loses_the_end, "got 'no end' when saved between `end` and the step that reports it"),
        (misremembers, "from `state_at` before turn 0, expected what `save` said then"),
    ],
)
def test_each_promise_is_looked_at(game: Any, monkeypatch: pytest.MonkeyPatch, spoil: Any, said: str) -> None:
    spoil(game, monkeypatch)
    with pytest.raises(AssertionError, match=said):
        check_environment(game.Guess())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["data={train: {type: atlas}, test: {type: atlas}}"],
            "data: got questions and an environment that begins from 500",
        ),
        (
            ["evaluate.questions=500"],
            "got 500 held-out episodes of an environment with 500 seeds",
        ),
        (
            ["environment.type=search", "environment.retriever={type: bm25, corpus: atlas}"],
            "data: missing: The questions",
        ),
        (
            ["environment.mots=3"],
            "mots: unknown key, expected one of max_turns, most; did you mean",
        ),
        (["environment.type=guess:Gess"], 'guess has no environment "Gess", expected one of Guess'),
    ],
)
def test_specs_that_do_not_fit(game: Any, changes: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load("guess.yaml", changes)


def test_processes_play_it_too() -> None:
    """Gymnasium's own vector environments: threads of one process, and processes that cannot share texts as memory."""
    for mode, more in (("sync", {}), ("async", {"shared_memory": False})):
        env = gymnasium.make_vec("sdsearch/SearchQA-v0", num_envs=2, vectorization_mode=mode, vector_kwargs=more)
        texts, _ = env.reset(seed=0)
        assert all(text.startswith("Question: ") for text in texts)
        *_, terminated, truncated, infos = env.step(("<answer>x</answer>", "hm"))
        assert (list(terminated), list(truncated)) == ([True, False], [False, False])
        assert infos["turns"][0] == (Turn("answer", "x"),)
        env.close()
    with pytest.raises(ValueError, match="you can disable this feature with `shared_memory=False`"):
        gymnasium.make_vec("sdsearch/SearchQA-v0", num_envs=2, vectorization_mode="async")

"""An agent of one's own: a function that writes a turn, and one that owns its loop."""

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdsearch.agents.callable import CallableAgent
from sdsearch.cli import app
from sdsearch.core.trajectory import Fork, Segment
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ComponentError, ModelUnavailable
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.rollout.collect import collect, continue_from
from sdsearch.rollout.evaluate import mean
from sdsearch.rollout.session import open_session
from sdsearch.spec import Experiment, load
from sdsearch.testing import check_agent, example_questions

MINE = """
import os
import threading
import time
from collections.abc import Callable

NOTED = {"at_once": 0, "most": 0, "texts": [], "shown": [], "ended": 0, "asked": 0}
LOCK = threading.Lock()

def act(text: str) -> str:
    NOTED["texts"].append(text)
    if "It serves" in text or "serves Rome" in text:
        return "<answer> Rome </answer> and on it goes"
    return "<search> Airport 1 </search><information>made up</information>"

def solve(question: str, search: Callable[[str], str]) -> str:
    with LOCK:
        NOTED["at_once"] += 1
        NOTED["most"] = max(NOTED["most"], NOTED["at_once"])
    time.sleep(0.01)
    with LOCK:
        NOTED["at_once"] -= 1
    NOTED["shown"].append(search(question.split(" serve")[0].split("does ")[-1]))
    return "Rome" if "serves Rome" in NOTED["shown"][-1] else "Oslo"

def restless(question: str, search: Callable[[str], str]) -> str:
    try:
        while True:
            try:
                search("again")
            except Exception:
                pass
    finally:
        NOTED["ended"] += 1

def forked(question: str, search: Callable[[str], str]) -> str:
    NOTED["asked"] += 1
    search(f"query {NOTED['asked']}")
    return "Rome"

def rude(question: str, search: Callable[[str], str]) -> str:
    NOTED["shown"].append(search("a </search> b"))
    return "<answer>"

def crowd(question: str, search: Callable[[str], str]) -> str:
    threads = [threading.Thread(target=lambda i=i: NOTED["shown"].append((i, search(f"Airport {i}")))) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "Rome"

def wrong(question: str, search: Callable[[str], str]) -> str:
    raise KeyError("a mistake")

def down(question: str, search: Callable[[str], str]) -> str:
    if "Airport 1" in question:
        raise ConnectionError("nobody at 10.0.0.7")
    return "Rome"

def hangs(text: str) -> str:
    time.sleep(5)
    return ""

def number(question: str, search: Callable[[str], str]) -> str:
    return 3

def silent(text):
    os._exit(1)

def other(command: str) -> str:
    os._exit(1)

async def later(text: str) -> str:
    return ""

class Tool:
    def __call__(self, text: str) -> str:
        return ""

tool = Tool()
"""


@pytest.fixture
def noted(spec: Path) -> Iterator[dict[str, Any]]:
    """Write the module beside the small spec, and return what its functions note."""
    (spec.parent / "mine_agents.py").write_text(MINE)
    yield importlib.import_module("mine_agents").NOTED
    del sys.modules["mine_agents"]


def played_by(spec: Path, name: str, *more: str) -> Experiment:
    agent = f"agent={{type: callable, function: 'mine_agents:{name}'}}"
    settings = ["objective=null", "evaluate.questions=4", "environment.max_turns=3"]
    return load(spec, [agent, *settings, *more])


def test_a_function_of_a_turn_is_given_all_that_was_said(spec: Path, noted: dict[str, Any]) -> None:
    groups = evaluate(played_by(spec, "act")).groups
    figures = mean(groups)
    assert figures["exact_match"] == 1
    (episode,) = groups[0].trajectories
    assert [s.role for s in episode.segments] == ["prompt", "model", "observation", "model"]
    # What goes on after an action is dropped, and nothing of it is in what is read next.
    assert [a.text for a in episode.actions] == ["<search> Airport 1 </search>", "<answer> Rome </answer>"]
    last = next(t for t in noted["texts"] if t.startswith(episode.segments[0].text) and "serves" in t)
    assert last == "".join(s.text for s in episode.segments[:3])


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_function_that_owns_its_loop_searches_in_turns(spec: Path, noted: dict[str, Any], concurrency: int) -> None:
    groups = evaluate(played_by(spec, "solve", f"agent.concurrency={concurrency}")).groups
    figures = mean(groups)
    assert (figures["exact_match"], figures["searches"]) == (1, 1)
    for i, group in enumerate(groups):
        (episode,) = group.trajectories
        assert [(t.kind, t.text) for t in episode.turns] == [("search", f"Airport {i}"), ("answer", "Rome")]
        assert episode.segments[2].text.strip() in noted["shown"]
    assert noted["most"] == concurrency


@pytest.mark.parametrize("name", ["act", "solve"])
def test_both_keep_the_contract_of_agents(noted: dict[str, Any], name: str) -> None:
    check_agent(CallableAgent(function=f"mine_agents:{name}"))


def test_a_recorded_episode_is_gone_on_with(spec: Path, noted: dict[str, Any]) -> None:
    experiment = played_by(spec, "solve")
    session, factory = open_session(experiment), experiment.environment.open()
    (group,) = collect(factory, session, experiment.questions("test")[:1], 1, seed=0)
    (again,) = continue_from(factory, session, [Fork(group.trajectories[0], 1)], 2, seed=1)
    assert [t.segments for t in again.trajectories] == [group.trajectories[0].segments] * 2
    fickle = open_session(played_by(spec, "forked"))
    fickle.reset(example_questions()[:1], [0])
    past = [Segment("prompt", "Q"), Segment("model", "<search> query 9 </search>"), Segment("observation", "x")]
    with pytest.raises(ComponentError, match=r"got '<search> query 1 </search>', expected '<search> query 9"):
        fickle.resume([0], [past])


def test_a_function_that_waits_in_an_ended_episode_is_ended(spec: Path, noted: dict[str, Any]) -> None:
    experiment = played_by(spec, "restless")
    session, factory = open_session(experiment), experiment.environment.open()
    (group,) = collect(factory, session, experiment.questions("test")[:1], 2, seed=0)
    assert {t.stop_reason for t in group.trajectories} == {"max_turns"}
    session.reset([], [])
    until = time.monotonic() + 10
    while noted["ended"] < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert noted["ended"] == 2


def test_what_the_protocol_cannot_say_is_an_invalid_turn(spec: Path, noted: dict[str, Any]) -> None:
    groups = evaluate(played_by(spec, "rude", "evaluate.questions=1")).groups
    (episode,) = groups[0].trajectories
    assert [t.kind for t in episode.turns] == ["invalid"] * 3
    assert noted["shown"] == [SearchR1().render_invalid().strip()]


def test_searches_made_at_once_are_turns_one_after_the_other(spec: Path, noted: dict[str, Any]) -> None:
    groups = evaluate(played_by(spec, "crowd", "evaluate.questions=1")).groups
    assert sorted(groups[0].trajectories[0].queries) == ["Airport 1", "Airport 2"]
    assert all(f"Doc 1(Title: Airport {i})" in shown for i, shown in noted["shown"])


def test_an_outage_ends_its_episodes_a_fault_the_program(spec: Path, noted: dict[str, Any]) -> None:
    groups = evaluate(played_by(spec, "down")).groups
    figures = mean(groups)
    assert (figures["exact_match"], figures["outage"]) == (1, 0.25)
    (lost,) = [t for g in groups for t in g.trajectories if t.lost]
    assert lost.outage == "mine_agents:down: ConnectionError: nobody at 10.0.0.7"
    with pytest.raises(KeyError, match="a mistake") as caught:
        evaluate(played_by(spec, "wrong"))
    assert caught.value.__notes__ == ["in mine_agents:wrong, question 0"]
    with pytest.raises(TypeError, match="returned int, expected str"):
        evaluate(played_by(spec, "number"))
    with pytest.raises(ModelUnavailable, match=r"took longer than 0\.05 s for a turn \(agent\.seconds\)"):
        evaluate(played_by(spec, "hangs", "agent.seconds=0.05", "evaluate.questions=1"))


@pytest.mark.parametrize("name", ["silent", "other", "later", "tool", "Tool", "time.sleep", "os.getcwd", "nothing"])
def test_nothing_but_an_agent_is_called(spec: Path, noted: dict[str, Any], name: str) -> None:
    with pytest.raises(ComponentError, match=r"nothing that can be an agent|cannot be imported"):
        open_session(played_by(spec, name))


def test_check_says_what_runs_and_what_it_is(spec: Path, noted: dict[str, Any]) -> None:
    path = spec.parent / "own.yaml"
    path.write_text(played_by(spec, "solve").dump())
    done = CliRunner().invoke(app, ["check", str(path), "--data"])
    assert done.exit_code == 0, done.output
    assert "# runs mine_agents:solve" in done.output
    assert "# agent: `callable` keeps no tokens" in done.output
    assert "# agent: mine_agents:solve owns its loop" in done.output

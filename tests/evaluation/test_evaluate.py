"""An evaluation keeps every episode, goes on where it stopped, and plays nothing twice."""

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import sdsearch
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, read_groups
from sdsearch.errors import CheckpointError, DataError, RetrieverUnavailable
from sdsearch.evaluation.evaluate import Evaluation, evaluate
from sdsearch.runs.lock import occupied
from sdsearch.spec import Experiment, load

PARTS = '''
import os
import signal

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Hop, Passage, Question
from sdsearch.core.trajectory import Segment
from sdsearch.errors import RetrieverUnavailable

PLAYED = []
SHUT = set()


class Ask(Dataset):
    count: int = 6
    answer: str = "Rome"

    def questions(self):
        hop = Hop("Italy", "capital", "Rome", "p")
        return [Question(f"q{i}", f"question {i}?", (self.answer,), ("p",), (hop,)) for i in range(self.count)]


class Shelf(Retriever):
    def open(self):
        return self

    @property
    def fingerprint(self):
        return str(sorted(SHUT & {"another index"}))

    def search(self, queries, k):
        if any(q in SHUT for q in queries):
            raise RetrieverUnavailable("the shelf is shut")
        return [[Hit(Passage("p", "Italy", "Rome."), 1.0)] for _ in queries]


class Player(Agent):
    """Searches for the number of the question, then says Rome; a process of its own is killed at some question."""

    dies: str = ""

    def open(self, grammar, model=None):
        return Session(self.dies)


class Session:
    def __init__(self, dies):
        self.dies = dies

    def reset(self, questions, seeds, greedy=False):
        self.asked = questions
        PLAYED.extend(q.id for q in questions)
        self.begun = set()

    def act(self, rows, texts):
        if any(self.asked[row].id == self.dies for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return [Reply(Segment("prompt", text), self.action(row)) for row, text in zip(rows, texts)]

    def action(self, row):
        first = row not in self.begun
        self.begun.add(row)
        return Segment("model", f"<search> {self.asked[row].id} </search>" if first else "<answer> Rome </answer>")
'''

SPEC = """
out: {folder}/runs
data: {{train: "eval_parts:Ask", test: {{type: "eval_parts:Ask"}}}}
environment: {{retriever: "eval_parts:Shelf", patience: {{retries: 0}}}}
agent: {{type: "eval_parts:Player"}}
evaluate: {{batch: 2}}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "eval_parts.py").write_text(PARTS)
    (tmp_path / "capitals.yaml").write_text(SPEC.format(folder=tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "eval_parts", raising=False)
    return tmp_path / "capitals.yaml"


def played() -> list[str]:
    """Return which questions were played since this was last asked."""
    notes: list[str] = importlib.import_module("eval_parts").PLAYED
    found = list(notes)
    notes.clear()
    return found


def shut(*names: str) -> None:
    """Let the retriever fail for the queries of these names, and no others."""
    closed: set[str] = importlib.import_module("eval_parts").SHUT
    closed.clear()
    closed.update(names)


def stored(folder: Path) -> list[Group]:
    return list(read_groups(folder / "trajectories" / "evaluate_0.jsonl"))


def at(experiment: Experiment, folder: Path, fresh: bool = False) -> Evaluation:
    return evaluate(experiment, folder=folder, fresh=fresh)


def ids(groups: Sequence[Group]) -> list[str]:
    return [group.question.id for group in groups]


EVERY = [f"q{i}" for i in range(6)]


def test_without_a_folder_nothing_is_written(spec: Path) -> None:
    done = evaluate(load(spec))
    assert (ids(done.groups), done.figures["exact_match"], done.folder) == (EVERY, 1.0, None)
    assert not (spec.parent / "runs").exists()


def test_every_episode_is_kept_and_nothing_is_played_twice(spec: Path) -> None:
    folder = spec.parent / "kept"
    first = at(load(spec), folder)
    assert played() == EVERY
    assert stored(folder) == first.groups
    assert (folder / "report.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.suffix in (".html", ".jsonl")}
    again = at(load(spec), folder)
    assert (again.groups, again.figures, played()) == (first.groups, first.figures, [])
    assert before == {path: path.stat().st_mtime_ns for path in before}
    more = at(load(spec, ["data.test.count=8", "evaluate.batch=5"]), folder)
    assert (ids(more.groups), played()) == ([*EVERY, "q6", "q7"], ["q6", "q7"])
    fewer = at(load(spec, ["evaluate.questions=3"]), folder)
    assert (ids(fewer.groups), played()) == (EVERY[:3], [])
    assert ids(stored(folder)) == [*EVERY, "q6", "q7"], "nothing that was played is lost"
    assert json.loads((folder / "evaluation.json").read_text())["sets"]["test"]["questions"] == 3
    at(load(spec, ["evaluate.questions=2"]), folder, fresh=True)
    assert (played(), ids(stored(folder))) == (EVERY[:2], EVERY[:2])
    assert len(stored(spec.parent / "kept.old1")) == 8


def test_a_question_that_has_changed_is_another_one(spec: Path) -> None:
    folder = spec.parent / "kept"
    at(load(spec), folder)
    played()
    assert at(load(spec, ["data.test.answer=Oslo"]), folder).figures["exact_match"] == 0.0
    assert played() == EVERY


def test_after_a_kill_only_what_is_missing_is_played(spec: Path) -> None:
    folder, whole = spec.parent / "kept", evaluate(load(spec))
    played()
    code = f"""
import sys
sys.path.insert(0, {str(spec.parent)!r})
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.spec import load
evaluate(load({str(spec)!r}, ["agent.dies=q4"]), folder={str(folder)!r})
"""
    environment = {"PYTHONPATH": str(Path(sdsearch.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    path = folder / "trajectories" / "evaluate_0.jsonl"
    assert ids(stored(folder)) == EVERY[:4]
    with path.open("a") as file:
        file.write('{"question": {"id": "q4"')  # as if the kill had come in the middle of a line
    told = (folder / "spec.yaml").read_text()
    (folder / "spec.yaml").write_text(told.replace("dies: q4", "dies: ''"))
    done = at(load(spec), folder)
    assert played() == EVERY[4:]
    assert done.groups == whole.groups == stored(folder)


def test_what_an_outage_ended_is_played_again(spec: Path) -> None:
    folder, experiment = spec.parent / "kept", load(spec, ["train.max_outage_rate=0.6", "evaluate.batch=1"])
    shut("q1", "q4")
    first = at(experiment, folder)
    score = first.scores.sets["test"]
    assert (score.questions, score.lost, score.figures["exact_match"].n) == (6, 2, 4)
    assert [not group.kept for group in first.groups] == [False, True, False, False, True, False]
    shut()
    played()
    again = at(experiment, folder)
    assert (played(), again.scores.sets["test"].lost, ids(stored(folder))) == (["q1", "q4"], 0, EVERY)


def test_outages_that_last_end_it_and_the_rest_is_kept(spec: Path) -> None:
    folder, experiment = spec.parent / "kept", load(spec, ["train.max_outage_rate=0.2"])
    shut("q2", "q3")
    with pytest.raises(RetrieverUnavailable, match=r"50% of the episodes .* the same command plays what is missing"):
        at(experiment, folder)
    shut()
    assert played() == EVERY[:4]
    assert at(experiment, folder).figures["exact_match"] == 1.0
    assert played() == EVERY[2:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("environment.max_turns=3", "environment.max_turns was 5 and is 3"),
        ("seed=1", "seed was 0 and is 1"),
        ("evaluate.greedy=false", "evaluate.greedy was true and is false"),
        ("agent.dies=q9", "agent.dies"),
    ],
)
def test_an_evaluation_of_something_else_is_not_gone_on_with(spec: Path, change: str, said: str) -> None:
    folder = spec.parent / "kept"
    at(load(spec), folder)
    with pytest.raises(CheckpointError, match="evaluation of something else") as error:
        at(load(spec, [change]), folder)
    assert said in str(error.value)
    assert "--out" in str(error.value)


def test_other_weights_or_another_index_are_something_else(spec: Path) -> None:
    folder, model = spec.parent / "kept", spec.parent / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    experiment = load(spec, [f"model.name={model}", "data.test.count=2"])
    at(experiment, folder)
    shut("another index")
    with pytest.raises(CheckpointError, match="another corpus or index"):
        at(load(spec, [f"model.name={model}"]), folder)
    shut()
    (model / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="weights was"):
        at(experiment, folder)


def test_a_folder_in_the_way_is_left_alone(spec: Path) -> None:
    run = spec.parent / "run"
    run.mkdir()
    (run / "spec.yaml").write_text("name: trained\n")
    with pytest.raises(CheckpointError, match="holds a run that is no evaluation"):
        at(load(spec), run)
    assert [path.name for path in run.iterdir()] == ["spec.yaml"]
    with occupied(spec.parent / "kept"), pytest.raises(CheckpointError, match="is in use by process"):
        at(load(spec), spec.parent / "kept")


def test_no_question_is_an_error(spec: Path) -> None:
    with pytest.raises(DataError, match="no questions"):
        evaluate(load(spec, ["data.test.count=0"]))


def test_named_sets_have_their_own_questions(spec: Path) -> None:
    sets = 'data.test={one: {type: "eval_parts:Ask"}, two: {type: "eval_parts:Ask", answer: Oslo, count: 3}}'
    text = spec.read_text().replace('test: {type: "eval_parts:Ask"}', "test: null")
    spec.write_text(text)
    done = evaluate(load(spec, [sets, "evaluate.questions=4"]))
    assert {name: score.questions for name, score in done.scores.sets.items()} == {"one": 4, "two": 3}
    assert ids(done.groups) == [*(f"one/q{i}" for i in range(4)), *(f"two/q{i}" for i in range(3))]
    assert done.figures["exact_match"] == 0.5, "each set counts alike"


def test_a_subset_by_hash_is_the_same_in_any_order_and_nested(spec: Path) -> None:
    from sdsearch.spec.picked import picked

    every = [Question(f"q{i}", "", ("a",), source="ab"[i % 2]) for i in range(40)]
    some = picked(every, 5, "hash")
    assert {q.source: sum(p.source == q.source for p in some) for q in some} == {"a": 5, "b": 5}
    assert set(some) == set(picked(every[::-1], 5, "hash")) < set(picked(every, 9, "hash"))
    assert some == sorted((q for q in every if q in some), key=lambda q: q.source), "one source after the other"
    assert picked(every, 2) == [every[i] for i in (0, 2, 1, 3)]
    assert picked(every, None, "hash", ["b", "a"]) == [*every[1::2], *every[::2]]
    moved = [replace(q, text="other") for q in every]
    assert [q.id for q in picked(moved, 5, "hash")] == [q.id for q in some]

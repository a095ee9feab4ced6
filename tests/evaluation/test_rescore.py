"""Another reward over kept episodes: by hand, written beside, and nothing is overwritten."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn, read_groups, write_groups
from sdsearch.errors import DataError, SpecError
from sdsearch.evaluation.compare import compare
from sdsearch.evaluation.rescore import rescore


def episode(number: int, answer: str | None, reward: float, lost: bool = False) -> Group:
    question = Question(f"q{number}", "?", ("New York",))
    turns = () if answer is None else (Turn("answer", answer),)
    stop = "retriever_unavailable" if lost else "answered"
    metrics = {"exact_match": reward, "f1": 0.5}
    return Group(question, (Trajectory(question, (Segment("prompt", "?"),), turns, stop, reward, metrics),))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "trajectories").mkdir(parents=True)
    (folder / "spec.yaml").write_text("name: run\nseed: 0\nenvironment: {type: search, reward: {type: exact_match}}\n")
    groups = [
        episode(0, "new york", 1.0),
        episode(1, "York", 0.0),
        episode(2, None, 0.0),
        episode(3, "New York", 0.0, True),
    ]
    write_groups(folder / "trajectories" / "evaluate_5.jsonl", groups)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_each_answer_earns_what_the_reward_says_and_nothing_is_overwritten(run: Path) -> None:
    before = files(run)
    done = rescore(run, "f1")
    # "york" of "new york": precision 1, recall 1/2.
    assert [g.trajectories[0].reward for g in done.groups] == [1.0, pytest.approx(2 / 3), 0.0, 0.0]
    assert done.folder == run / "rescored" / "f1"
    assert list(read_groups(done.folder / "trajectories" / "evaluate_5.jsonl")) == done.groups
    assert "f1" in (done.folder / "spec.yaml").read_text()
    assert json.loads((done.folder / "metrics.jsonl").read_text())["step"] == 5
    change = done.comparison.sets["test"]["reward"]
    assert (change.n, change.wins, change.ties) == (3, 1, 2)
    assert change.estimate.value == pytest.approx(2 / 9)
    once = files(run)
    assert {name: once[name] for name in before} == before
    assert rescore(run, "{type: f1}").folder == run / "rescored" / "f1_2"
    assert {name: content for name, content in files(run).items() if name in once} == once
    assert compare(run, done.folder).macro["reward"] == change


def test_from_the_command_line(run: Path) -> None:
    done = CliRunner().invoke(app, ["rescore", str(run), "--reward", "cover_exact_match", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["reward"], found["figures"]["reward"], found["changes"]["test"]["ties"]) == (
        "cover_exact_match",
        pytest.approx(1 / 3),
        3,
    )
    plain = CliRunner().invoke(app, ["rescore", str(run), "--reward", "f1"])
    assert "test: reward 0.333 -> 0.556, +0.222" in plain.stdout


def test_what_cannot_be_scored_is_refused_before_anything_is_written(run: Path) -> None:
    with pytest.raises(SpecError, match=r'--reward ff: reward: unknown reward "ff", expected one of'):
        rescore(run, "ff")
    with pytest.raises(SpecError, match="--reward"):
        rescore(run, "{type: f1, x: 3}")
    with pytest.raises(DataError, match="evaluate_6"):
        rescore(run, "f1", "evaluate_6")
    write_groups(run / "trajectories" / "evaluate_6.jsonl", [episode(0, "a", 0.0, lost=True)])
    with pytest.raises(DataError, match="no episode in evaluate_6 that has come to its end"):
        rescore(run, "f1")
    assert not (run / "rescored").exists()

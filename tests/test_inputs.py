"""What `check --data` opens, finds and refuses; it builds and writes nothing."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.data.reading import passages
from sdsearch.inputs import inputs
from sdsearch.learning.train import train
from sdsearch.spec import load


def test_what_is_there_is_counted(spec: Path) -> None:
    needed = longest(spec)
    before = sorted(spec.parent.rglob("*"))
    found = {where: what for where, what, fault in inputs(load(spec)) if not fault}
    assert found == {
        "environment.retriever.corpus": "9 passages",
        "data.train": "5 questions",
        "data.test": "5 questions",
        "data": "warning: 2 of the 2 test questions are asked in training too",
        "model": f"a tokeniser of 400 tokens; the longest of 10 prompts takes {needed}",
    }
    assert sorted(spec.parent.rglob("*")) == before
    assert CliRunner().invoke(app, ["check", str(spec), "--data"]).stdout.splitlines()[:3] == [
        f"# {spec}",
        "# runs small_parts.by_token:ByToken",
        "# environment.retriever.corpus: 9 passages",
    ]


def longest(spec: Path) -> int:
    """Return the tokens of the longest prompt, from a rollout."""
    folder = train(load(spec, ["train.steps=1", "name=played"])).folder
    groups = [json.loads(line) for line in (folder / "trajectories" / "evaluate_0.jsonl").read_text().splitlines()]
    return max(len(t["segments"][0]["tokens"]) for group in groups for t in group["trajectories"])


def test_all_that_is_wrong_is_told_at_once(spec: Path) -> None:
    (spec.parent / "questions.jsonl").write_text('{"question": "Who?"}\n')
    (spec.parent / "corpus.jsonl").unlink()
    missing = "train.source={type: stored, run: nowhere}"
    done = CliRunner().invoke(app, ["check", str(spec), "--data", "--set", missing, "--set", "model.name=./nothing"])
    assert done.exit_code == 1
    faults = [line for line in done.stderr.splitlines() if line.startswith(f"{spec}: ")]
    expected = {
        "environment.retriever.corpus": "corpus.jsonl, which is no file",
        "data.train": "questions.jsonl:1: got the fields question, expected texts under",
        "data.test": "questions.jsonl:1: got the fields question, expected texts under",
        "train.source.run": "nowhere holds no run",
        "model": "/nothing' could not be loaded",
    }
    assert [fault.removeprefix(f"{spec}: ").partition(": ")[0] for fault in faults] == list(expected)
    assert all(said in fault for said, fault in zip(expected.values(), faults, strict=True))
    assert CliRunner().invoke(app, ["check", "-q", str(spec), "--set", missing]).exit_code == 0, "not without --data"


def test_a_server_is_asked(spec: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        where = f"host: 127.0.0.1, port: {taken.getsockname()[1]}"
        chroma = (
            f"environment.retriever={{type: chroma, {where}, corpus: {{type: jsonl, path: {spec.parent}/corpus.jsonl}}"
        )
        faults = [f for _, _, f in inputs(load(spec, [chroma + ", embedder: hashing}"])) if f]
    assert len(faults) == 1
    assert "Chroma could not reach the server 127.0.0.1:" in faults[0]


def test_of_a_large_file_the_beginning_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.jsonl"
    good = [json.dumps({"id": i, "contents": f"t\nx {i}"}) for i in range(5)]
    path.write_text("\n".join([*good, "no JSON"]))
    monkeypatch.setattr(passages, "LARGE", 10)
    monkeypatch.setattr(passages, "FIRST", 5)
    assert JsonlPassages(path=path).inspect() == "5 passages at the beginning of 0.0 GB"


def test_of_a_study_every_arm_is_looked_at_and_each_thing_once(spec: Path) -> None:
    study = spec.parent / "study.yaml"
    study.write_text(
        f"kind: study\nexperiment: {spec.name}\nreference: a\nseeds: [1, 2]\nbudget: {{rollouts: 9}}\n"
        "arms: {a: {}, b: {train: {steps: 2}}, c: {environment: {retriever: {corpus: {path: gone.jsonl}}}}}\n"
    )
    done = CliRunner().invoke(app, ["check", str(study), "--data"])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"environment.retriever.corpus: got {spec.parent}/gone.jsonl, which is no file" in done.stderr
    assert done.stdout.count("# environment.retriever.corpus: 9 passages") == 1
    assert done.stdout.count("# data.train: 5 questions") == 1

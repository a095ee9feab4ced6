"""docs/evaluation.md: its YAML loads as it stands, and what it says of the JSON is so."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.spec import load

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
REST = "environment: {retriever: {type: bm25, corpus: atlas}}\nagent: scripted\n"


def test_its_test_sets_load_and_are_asked_for_in_an_editor(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "spec.yaml").write_text(block + REST)
    spec = load(tmp_path / "spec.yaml")
    assert spec.data
    assert list(spec.data.test.model_dump()["of"]) == ["nq", "hotpotqa", "bamboogle"]
    assert list(spec.data.train.model_dump()["of"]) == ["nq", "hotpotqa"]
    (tmp_path / "again.yaml").write_text(spec.dump())
    assert load(tmp_path / "again.yaml").data == spec.data


def test_its_keys_are_those_of_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sets = "{one: {type: atlas, split: test, hops: [1]}, two: {type: atlas, split: test, hops: [1, 2]}}"
    (tmp_path / "spec.yaml").write_text(
        f"data: {{train: {{type: atlas, split: train}}, test: {sets}}}\nevaluate: {{questions: 3}}\n{REST}"
    )
    done = CliRunner().invoke(app, ["eval", "spec.yaml", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    told = re.findall(r"^\| (`[^|]*`) \|", PAGE.partition("`--json` prints")[2].partition("## ")[0], re.M)
    assert set(found) == set(re.findall(r"`(\w+)`", " ".join(told)))
    assert set(found["sets"]["two"]) == {"questions", "outages", "figures", "kinds", "hops"}
    assert set(found["macro"]["f1"]) == set(found["sets"]["one"]["figures"]["f1"]) == {"value", "low", "high", "n"}
    assert (found["folder"], found["questions"], found["macro"]["f1"]["n"]) == ("runs/spec/eval/0", 6, 2)
    assert "evaluate: 6/6" in done.stderr
    again = CliRunner().invoke(app, ["compare", "runs/spec/eval/0", "runs/spec/eval/0", "--json"])
    assert json.loads(again.stdout)["macro"]["exact_match"]["ties"] == 6

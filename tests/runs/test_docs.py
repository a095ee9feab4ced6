"""The page on runs: its script reads a run, and its tables name every file and column that there is."""

import re
from pathlib import Path

import pytest

from sdsearch.learning.train import train
from sdsearch.spec import load

PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")


def test_the_page_reads_a_run_and_knows_what_is_in_it(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(load(spec, ["train.steps=1"]))
    capsys.readouterr()
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    exec(compile(script, "docs/runs.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("[1] ['evaluate_0', 'step_1', 'evaluate_1'] 1\n")
    assert "Correct: " in said or "attempt" in said.lower()

    named = set(re.findall(r"`([^`\s]+)`", "".join(line for line in PAGE.splitlines(True) if line.startswith("| `"))))
    kinds = {"small_parts.by_token": "<credit>", "clipped_pg": "<term>", "distill": "<term>"}
    for column in run.table(1).columns:
        *front, last = column.removesuffix("/logprob").split("/")
        name = "/".join([*front, kinds.get(last, last)])
        assert name + column[len(column.removesuffix("/logprob")) :] in named or name in named, column
    for path in run.folder.iterdir():
        stem = {"trajectories": "/step_12.jsonl", "columns": "/step_12.safetensors", "hints": "/step_12.jsonl"}
        ending = stem.get(path.name, "/step_50/" * (path.name == "checkpoints"))
        assert path.name + ending in named, path

"""The benchmark for one GPU, on the CPU: it keeps to its minutes, keeps what it finds, and leaves nothing untold."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdsearch.core.trajectory import read_groups
from sdsearch.policy.policy import Policy
from sdsearch.spec import load

COMMAND = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(COMMAND.parent)
    BENCHMARK: dict[str, Any] = runpy.run_path(str(COMMAND))
    STEP: dict[str, Any] = runpy.run_path(str(COMMAND.with_name("gpu_step.py")))


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "figures.jsonl").read_text().splitlines()]


def test_without_time_each_part_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--minutes", "0", "--out", str(tmp_path)])
    assert BENCHMARK["main"]() == 0
    lines = told(tmp_path)
    assert {line["part"] for line in lines} == {*BENCHMARK["PARTS"], "run"}
    assert {line["skipped"] for line in lines} == {"no time was left"}
    assert (tmp_path / "table.md").read_text().count("was skipped") == len(lines)


def test_an_earlier_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "figures.jsonl").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--minutes", "0", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        BENCHMARK["main"]()
    assert (tmp_path / "figures.jsonl").read_text() == "{}"


def test_episodes_are_written_in_the_tokens_of_another_model(spec: Path, recorded: Path, tiny: Policy) -> None:
    groups = list(read_groups(recorded))
    written = STEP["rewritten"](groups, tiny.codec, load(spec))
    assert [[s.text for t in g.trajectories for s in t.segments] for g in written] == [
        [s.text for t in g.trajectories for s in t.segments] for g in groups
    ]
    assert written == groups  # they were in this model's tokens, with made-up log-probabilities, all along


def test_the_table_compares_pairs_and_leaves_out_the_first_round() -> None:
    lines: list[dict[str, Any]] = [{"part": "run", "arm": "GRPO", "seed": 3, "skipped": "its time was over"}]
    for number in range(3):
        for arm, slower in (("GRPO", 1.0), ("SD-Search", 1.5)):
            figures = {"step, s": slower * (100 if number == 0 else 2), "step, % of peak": None}
            about = {"model": "m", "about": "small", "objective": arm, "round": number}
            lines.append({"part": "step/m", **about, "figures": figures})
        ratios = {"learning": 1.5 + number / 10, "whole step": 1.2}
        lines.append({"part": "step/m", "model": "m", "round": number, "ratios": ratios})
    for arm, seed, after in (("GRPO", 0, 0.5), ("SD-Search", 0, 0.6), ("GRPO", 1, 0.4), ("SD-Search", 1, 0.6)):
        lines.append({"part": "run", "arm": arm, "seed": seed, "before": 0.2, "after": after})
    lines.append({"part": "run", "arm": "GRPO", "seed": 2, "before": 0.2, "after": 0.9})
    table = BENCHMARK["table"](lines, ["GRPO", "SD-Search"])
    assert "| m | SD-Search | 2 | 3.000 | - |" in table
    assert "| m | learning | 2 | 1.650 | 1.600 | 1.700 |" in table
    assert "| 0 | 0.200 | 0.500 | 0.200 | 0.600 | 0.100 |" in table
    assert "| mean |  |  |  |  | 0.150 [-0.485, 0.785] |" in table
    assert "- run GRPO 3 was skipped: its time was over" in table


@pytest.mark.slow
def test_the_whole_command_on_small_models(tmp_path: Path) -> None:
    settings = ["--device", "cpu", "--tiny", "--minutes", "4", "--peak", "1e11", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, str(COMMAND), *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = told(tmp_path)
    assert {line["part"] for line in lines} == {*BENCHMARK["PARTS"], "run"}
    rounds = [line for line in lines if line["part"].startswith("step/") and "skipped" not in line]
    assert {line["model"] for line in rounds} >= {BENCHMARK["SEED"], BENCHMARK["SHAPE"]}
    assert all(ratio > 0 for line in rounds if "ratios" in line for ratio in line["ratios"].values())
    for figures in (line["figures"] for line in rounds if "figures" in line):
        parts = sum(figures[f"{part}, s"] for part in (*STEP["TIMES"], "other"))
        assert parts == pytest.approx(figures["step, s"])
        assert figures["sampled tokens/s"] > 0
        assert figures["memory, GiB"] > 0
    before, after = (line for line in lines if line["part"] == "labels")
    assert (before["steps"], after["steps"]) == (0, 1)
    assert before["label_effect"]["low"] <= before["label_effect"]["value"] <= before["label_effect"]["high"]
    assert {(line["arm"], line["seed"], line["steps"]) for line in lines if line["part"] == "run"} == {
        ("GRPO", 0, 1),
        ("SD-Search", 0, 1),
    }
    assert (tmp_path / "table.md").read_text() in done.stdout

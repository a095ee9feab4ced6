"""`sdsearch teacher` with the weights of a spec and of a run, on groups that it plays and on recorded ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sdsearch.cli import app
from sdsearch.core.trajectory import Group, kept, write_groups
from sdsearch.learning.train import train
from sdsearch.policy.policy import Policy
from sdsearch.spec import load


def teacher(*words: object) -> Result:
    return CliRunner().invoke(app, ["teacher", *map(str, words)])


def test_a_spec_is_judged_on_recorded_groups(spec: Path, recorded: Path, groups: list[Group], tiny: Policy) -> None:
    table = spec.parent / "tokens.csv"
    done = teacher(spec, "--trajectories", recorded, "--json", "--save", table)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["about"]["groups with both outcomes"] == "3 of 4"
    assert found["about"]["queries"] == 18
    names = {"distill (hindsight)", "hindsight", "placebo", "gold_answer", "documents", "peer_success", "next_searches"}
    assert found["hints"].keys() == names
    assert found["hints"]["distill (hindsight)"] == found["hints"]["hindsight"]
    label = found["hints"]["hindsight"]["label_effect"]
    assert label["low"] < label["value"] < label["high"]
    # The table has what the figures are made of.
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(span == 1 for t in kept(groups[:3]) for s in t.actions for span in s.spans)
    signs = np.array([1 if row["right"] == "True" else -1 for row in rows])
    effect = signs * [float(row["hindsight/true"]) - float(row["hindsight/flipped"]) for row in rows]
    assert effect.sum() / 18 == pytest.approx(label["value"], abs=1e-6)
    assert rows[0]["question"] == groups[0].question.id
    at = int(rows[0]["row"])
    assert int(rows[0]["token"]) == groups[0].trajectories[0].actions[0].tokens[at]
    # And without a hint it is what the model says.
    shown = teacher(spec, "--trajectories", recorded, "--hint", "hindsight", "--hint", "gold_answer")
    assert "label effect" in shown.stdout
    assert "placebo" not in shown.stdout


def test_a_run_is_judged_by_its_checkpoint(spec: Path, recorded: Path) -> None:
    folder = train(load(spec, ["train.steps=2", "train.evaluate_every=0"])).folder
    (folder / "trajectories" / "step_9.jsonl").write_bytes(recorded.read_bytes())
    first, last = (
        json.loads(teacher(folder, "--trajectories", "step_9", "--checkpoint", n, "--json").stdout) for n in (1, 2)
    )
    assert first["about"]["weights"].endswith("step_1")
    assert first["hints"]["hindsight"] != last["hints"]["hindsight"]
    assert "advantage_correlation" not in last["hints"]["hindsight"]
    turns = [{"question": "0", "trajectory": [0, j], "turn": t, "value": j + t} for j in range(3) for t in range(2)]
    about = {"turns of": "trajectories/step_9.jsonl"}
    (folder / "fidelity.json").write_text(json.dumps({"about": about, "turns": turns}))
    judged = json.loads(teacher(folder, "--trajectories", "step_9", "--json").stdout)["hints"]["hindsight"]
    assert -1 <= judged["advantage_correlation"]["value"] <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trajectories", "nowhere"], "nowhere: there is no such file"),
        (["--hint", "hindsigt"], 'did you mean "hindsight"?'),
        (["--set", "agent={type: scripted}"], "the agent `scripted` has no weights"),
        (["--questions", "2"], "none of 2 groups has right attempts and wrong ones"),
    ],
)
def test_what_cannot_be_judged_is_told(spec: Path, words: list[str], said: str) -> None:
    done = teacher(spec, *words)
    assert done.exit_code == 1
    assert said in done.stderr.replace("\n", " ")


def test_groups_of_another_tokeniser_are_refused(spec: Path, recorded: Path, groups: list[Group]) -> None:
    write_groups(recorded, groups)
    recorded.write_text(recorded.read_text().replace('"tokens": [', '"tokens": [7, ', 1))
    done = teacher(spec, "--trajectories", recorded)
    assert done.exit_code == 1
    assert "the tokens of a prompt are not those of `model`" in done.stderr


def test_an_empty_file_is_told(spec: Path) -> None:
    empty = spec.parent / "empty.jsonl"
    empty.touch()
    assert f"{empty} holds no groups" in teacher(spec, "--trajectories", empty).stderr.replace("\n", "")


def test_a_run_without_such_trajectories_is_told(spec: Path) -> None:
    folder = train(load(spec, ["train.steps=1", "train.evaluate_every=0"])).folder
    done = teacher(folder, "--trajectories", "step_7")
    assert done.exit_code == 1
    assert "step_7" in done.stderr

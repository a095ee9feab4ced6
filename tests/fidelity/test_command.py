"""`sdsearch fidelity` on a tiny run, and the paired continuations of a real model."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sdsearch.cli import app
from sdsearch.contracts.environment import Action
from sdsearch.core.trajectory import Fork
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.learning.train import train
from sdsearch.rollout.collect import collect, continue_from
from sdsearch.rollout.session import open_session
from sdsearch.spec import load

REWARD = """
from sdsearch.contracts.environment import Reward

class ByLetter(Reward):
    def score(self, answer, answers):
        return 0.0 if answer is None else (1 + sum(map(ord, answer)) % 4) / 4
"""


@pytest.fixture
def acting(spec: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Read what is no action as a search or an answer, with a reward that varies: random weights never write one."""
    parse = SearchR1.parse

    def some(self: SearchR1, text: str) -> Action:
        found = parse(self, text)
        return Action(("search", "answer")[len(text) % 3 == 0], text) if found.kind == "invalid" else found

    monkeypatch.setattr(SearchR1, "parse", some)
    (spec.parent / "letter_parts").mkdir()
    (spec.parent / "letter_parts" / "__init__.py").touch()
    (spec.parent / "letter_parts" / "by_letter.py").write_text(REWARD)
    text = spec.read_text().replace("max_turns: 2", "max_turns: 4\n  reward: {type: letter_parts.by_letter}")
    spec.write_text(text.replace("max_new_tokens: 8", "max_new_tokens: 4"))
    return spec


def fidelity(*words: object) -> Result:
    return CliRunner().invoke(app, ["fidelity", *map(str, words)])


def test_a_run_is_judged(acting: Path) -> None:
    folder = train(load(acting, ["train.steps=1"])).folder
    done = fidelity(folder, "--questions", 2, "--k", 4)
    assert done.exit_code == 0, done.output
    assert f"everything is in {folder / 'fidelity.md'}" in done.stdout.replace("\n", "")
    found = json.loads((folder / "fidelity.json").read_text())
    assert found["about"]["checkpoint"] == "step_1"
    assert found["about"]["trajectories"] == 6
    states = {(t["question"], *(t["trajectory"] if t["turn"] else ()), t["turn"]) for t in found["turns"]}
    assert found["about"]["continuations"] == 4 * len(states)
    assert {"small_parts.by_token", "distill (implied)", "group_mean", "vine", "igpo"} <= found["scores"].keys()
    skipped = found["skipped"]
    assert skipped["gae"] == "it needs weights that the run did not keep: critic"
    assert skipped["tree_group"].startswith("got rollouts independent, which have no trees")
    assert "got no gold passage" in skipped["gold_passage"]
    assert "tokens and the model has 512 positions" in skipped["turnsight"]
    for turn in found["turns"]:
        assert turn["low"] <= turn["value"] <= turn["high"]
        assert turn["credits"].keys() == found["scores"].keys()
        assert turn["credits"]["group_mean"] is not None
    assert len({t["value"] for t in found["turns"]}) > 3
    report = (folder / "fidelity.md").read_text()
    assert "| vine |" in report
    assert "(a perfect credit, against these estimates)" in report
    again = fidelity(folder, "--questions", 2, "--k", 4)
    assert again.exit_code == 0
    assert json.loads((folder / "fidelity.json").read_text()) == found
    assert not (folder / "fidelity.partial").exists()


def test_several_runs_are_judged_and_put_together(acting: Path) -> None:
    folders = [train(load(acting, ["train.steps=1", f"seed={seed}"])).folder for seed in (0, 1)]
    done = fidelity(*folders, "--questions", 2, "--k", 2, "--credits", "vine", "--credits", "group_mean")
    assert done.exit_code == 0, done.output
    own = [json.loads((folder / "fidelity.json").read_text()) for folder in folders]
    assert [one["about"]["seed"] for one in own] == [0, 1]  # each has questions of its own
    assert {t["question"] for t in own[0]["turns"]} != {t["question"] for t in own[1]["turns"]}
    report = (folders[0].parent / "fidelity.md").read_text()
    assert f"- turns: {sum(one['about']['turns'] for one in own)}\n" in report
    both = np.mean([one["scores"]["vine"]["pooled"]["value"] for one in own])
    assert f"{both:.2f} [" in next(line for line in report.splitlines() if line.startswith("| vine |"))


def test_nothing_is_played_before_every_run_is_known_to_be_there(acting: Path) -> None:
    folder = train(load(acting, ["train.steps=1"])).folder
    for other, said in {
        folder.parent / "7": "7 holds no run: expected spec.yaml",
        folder: "expected each run once",
    }.items():
        done = fidelity(folder, other)
        assert done.exit_code == 1
        assert said in done.stderr
    assert not (folder / "fidelity.md").exists()


def test_stored_trajectories_and_chosen_credits(acting: Path) -> None:
    folder = train(load(acting, ["train={steps: 2, keep_checkpoints: 9}", "objective.credit=[{type: gae}]"])).folder
    chosen = acting.parent / "chosen.yaml"
    chosen.write_text("credits: [{type: vine, k: 2}, gae, {type: log_ratio, teacher: frozen, rows: policy}]")
    done = fidelity(folder, "--checkpoint", 1, "--trajectories", "step_2", "--k", 2, "--credits", chosen)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "fidelity.json").read_text())
    assert found["about"]["turns of"] == "trajectories/step_2.jsonl"
    assert found["scores"].keys() == {"vine", "gae", "log_ratio"}
    stored = (folder / "trajectories" / "step_2.jsonl").read_text().splitlines()
    assert {t["question"] for t in found["turns"]} == {json.loads(line)["question"]["id"] for line in stored}
    for words, said in {
        ("--checkpoint", "7"): "got no checkpoint of step 7, expected one of 1, 2",
        ("--trajectories", "step_9"): "expected one of evaluate_0, step_1, step_2, evaluate_2",
        ("--credits", "group_meen"): 'did you mean "group_mean"?',
    }.items():
        wrong = fidelity(folder, *words)
        assert wrong.exit_code == 1
        assert said in wrong.stderr


def test_without_a_run_it_is_the_known_problem() -> None:
    done = fidelity("--credits", "group_mean")
    assert done.exit_code == 0
    assert "group_mean" in done.stdout
    assert "a search problem whose advantages are known exactly" in done.stdout


def test_continuations_are_paired(acting: Path) -> None:
    """Continuation i of the question, gone on with after its first turn, is itself; others are not."""
    experiment = load(acting)
    session, k = open_session(experiment), 6
    env_factory, questions = experiment.environment.open(), experiment.questions("test")[:2]
    groups = collect(env_factory, session, questions, 1, seed=3)
    starts = [Fork(g.trajectories[0], 0) for g in groups]
    first = continue_from(env_factory, session, starts, k, seed=9, paired=True)
    assert len({t.tokens for t in first[0].trajectories}) > 3
    longer = [(g, i, t) for g in range(2) for i, t in enumerate(first[g].trajectories) if len(t.actions) > 1]
    assert longer
    again = continue_from(env_factory, session, [Fork(t, 1) for _, _, t in longer], k, seed=9, paired=True)
    for (_, i, t), group in zip(longer, again, strict=True):
        assert group.trajectories[i].tokens == t.tokens
        assert sum(o.tokens == t.tokens for o in group.trajectories) < k


def test_options_that_the_small_problem_has_not_are_refused() -> None:
    done = CliRunner().invoke(app, ["fidelity", "--k", "4", "--trajectories", "step_1"])
    assert done.exit_code == 2
    assert "--k, --trajectories: only with RUN" in " ".join(done.output.split())
    few = CliRunner().invoke(app, ["fidelity", "--questions", "3", "--group", "2", "--credits", "constant"])
    assert few.exit_code == 0
    assert "questions: 3\ntrajectories: 6\n" in few.output

"""Training: the step is the same however it is cut, goes on exactly where it stopped, and loses nothing."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sdsearch.contracts.environment import Action
from sdsearch.core.trajectory import Trajectory, read_groups
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import CheckpointError, RetrieverUnavailable, SpecError
from sdsearch.learning.train import train
from sdsearch.policy.policy import Policy
from sdsearch.spec import Experiment, load


def opened(spec: Path, *overrides: str) -> Experiment:
    """Load the spec."""
    return load(spec, overrides)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the newest checkpoint of a run."""
    from safetensors.torch import load_file

    return load_file(max(folder.glob("checkpoints/step_*"), key=lambda p: int(p.name[5:])) / "model.safetensors")


def figures(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without its times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["retrieval"]["seconds"]
        line.get("spent", {}).pop("seconds", None)
    return lines


def always_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every action that is none as a search: the random weights of the tests never write one."""
    parse = SearchR1.parse

    def search(self: SearchR1, text: str) -> Action:
        found = parse(self, text)
        return Action("search", "Rome") if found.kind == "invalid" else found

    monkeypatch.setattr(SearchR1, "parse", search)


def test_a_run_leaves_everything(spec: Path) -> None:
    folder = train(opened(spec)).folder
    assert [m["step"] for m in figures(folder) if "train" in m] == [1, 2, 3, 4]
    assert [m["step"] for m in figures(folder) if "evaluate" in m] == [0, 2, 4]
    assert {p.name for p in folder.iterdir()} >= {
        "spec.yaml",
        "environment.json",
        "metrics.jsonl",
        "learning_curve.png",
        "report.html",
    }
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step_3", "step_4"]
    written = load(folder / "spec.yaml")
    assert written.train.tokens_per_batch == 1 << 14, "what the spec leaves to the machine is written down"
    assert written == opened(spec, "train.tokens_per_batch=16384")
    assert (folder / "trajectories" / "step_4.jsonl").read_text().count("\n") == 2


def test_one_evaluation_before_and_one_after_and_where_the_time_went(spec: Path) -> None:
    since = time.perf_counter()
    folder = train(opened(spec, "train.steps=2", "train.evaluate_every=0")).folder
    elapsed = time.perf_counter() - since
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluate" in line] == [0, 2]
    steps = [line["seconds"] for line in lines if "train" in line]
    assert all(0 < sum(v for name, v in seconds.items() if name != "step") <= seconds["step"] for seconds in steps)
    assert sum(seconds["step"] for seconds in steps) < elapsed


@pytest.mark.parametrize("budget", [1, 300])
def test_micro_batches_change_nothing(spec: Path, budget: int) -> None:
    whole = weights(train(opened(spec, "name=whole", "train.steps=1")).folder)
    cut = weights(train(opened(spec, "name=cut", "train.steps=1", f"train.tokens_per_batch={budget}")).folder)
    start = Policy.load(opened(spec).model).model.state_dict()
    moved = max((whole[k] - start[k]).abs().max().item() for k in whole)
    assert moved > 1e-3
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], atol=2e-4, rtol=1e-3)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(spec: Path) -> None:
    keep = ["train.keep_checkpoints=9", "train.epochs=2", "monitors={window: 3, gradients_every: 2}"]
    straight = train(opened(spec, "name=straight", *keep)).folder
    assert [line["step"] for line in figures(straight) if "warnings" in line] == [1, 3]
    stopped = train(opened(spec, "name=stopped", *keep)).folder
    for name in ("step_4", "step_3"):  # as if it had been killed after some of step 3 was written down
        shutil.rmtree(stopped / "checkpoints" / name)
    train(opened(spec, "name=stopped", *keep), resume=True)
    assert figures(stopped) == figures(straight)
    expected, got = weights(straight), weights(stopped)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(opened(spec, "name=stopped", *keep), resume=True)


@pytest.mark.parametrize("budget", [{"rollouts": 12}, {"tokens": 12}, {"seconds": 1e-6}])
def test_a_run_ends_when_its_budget_is_spent(spec: Path, budget: dict[str, float]) -> None:
    steps = {"rollouts": 2, "tokens": 1, "seconds": 1}[next(iter(budget))]
    experiment = opened(spec, f"train={{questions: 3, group: 2, budget: {json.dumps(budget)}}}")
    folder = train(experiment).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train" in line] == list(range(1, steps + 1))
    assert lines[-1]["step"] == steps
    assert "evaluate" in lines[-1]
    spent = [line["spent"] for line in lines if "train" in line]
    assert [s["rollouts"] for s in spent] == [6.0 * (i + 1) for i in range(steps)]
    assert spent[-1]["tokens"] == sum(t.sampled for s in range(steps) for t in episodes(folder, s + 1))
    assert load(folder / "spec.yaml") == experiment.settled(1 << 14)
    before = figures(folder)
    assert figures(train(experiment, resume=True).folder) == before


def episodes(folder: Path, step: int) -> list[Trajectory]:
    """Return the episodes of a training step."""
    groups = read_groups(folder / "trajectories" / f"step_{step}.jsonl")
    return [t for group in groups for t in group.trajectories]


@pytest.mark.parametrize("budget", ["{}", "{rollouts: 3, tokens: 4}", "{rollouts: null}"])
def test_a_budget_is_of_one_thing(spec: Path, budget: str) -> None:
    with pytest.raises(SpecError, match="expected exactly one of rollouts, tokens and seconds"):
        opened(spec, f"train.budget={budget}")


def test_a_run_is_not_overwritten(spec: Path) -> None:
    one = opened(spec, "train.steps=1")
    train(one)
    with pytest.raises(CheckpointError, match="--resume goes on with it, --fresh moves it aside"):
        train(one)
    with pytest.raises(CheckpointError, match="another spec"):
        train(opened(spec, "train.questions=1"), resume=True)
    train(one, fresh=True)
    assert (spec.parent / "runs" / "small" / "0.old1" / "metrics.jsonl").exists()


def test_a_damaged_checkpoint_is_named(spec: Path) -> None:
    one = opened(spec, "train.steps=1")
    path = train(one).folder / "checkpoints" / "step_1" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*move the run aside") as caught:
        train(one, resume=True)
    subprocess.run(str(caught.value).splitlines()[-1], shell=True, check=True)
    train(one, resume=True)  # what a study does too: it begins anew
    assert (one.folder / "checkpoints" / "step_1").is_dir()


def test_an_agent_without_weights_cannot_be_trained(spec: Path) -> None:
    with pytest.raises(SpecError, match="small: the agent `scripted` has no weights to train: expected `policy`"):
        train(opened(spec, "agent=scripted"))
    with pytest.raises(SpecError, match="small: `objective` is missing: training needs `credit` and `terms`"):
        train(opened(spec, "objective=null"))
    assert not (spec.parent / "runs" / "small" / "0").exists()


def test_the_student_never_sees_the_hint(spec: Path) -> None:
    folder = train(opened(spec, "train.steps=2")).folder
    text = "".join(p.read_text() for p in (folder / "trajectories").iterdir())
    assert "Question: Which city" in text
    assert "Earlier attempts" not in text


def test_a_lasting_outage_stops_the_run_with_a_checkpoint(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdsearch.retrieval.cached import Cached

    def down(self: Cached, queries: object, k: int) -> None:
        raise RetrieverUnavailable("the retriever did not answer in time")

    monkeypatch.setattr(Cached, "search", down)
    always_searching(monkeypatch)
    with pytest.raises(RetrieverUnavailable, match=r"failed in 100% of the episodes.*--resume"):
        train(opened(spec))
    folder = spec.parent / "runs" / "small" / "0"
    assert (folder / "checkpoints" / "step_0" / "model.safetensors").exists()


def test_every_step_records_what_monitors_need(spec: Path) -> None:
    folder = train(opened(spec, "train.steps=3", "train.epochs=2", "monitors.gradients_every=2")).folder
    steps = [line["train"] for line in figures(folder) if "train" in line]
    every = {
        *("homogeneous", "repeated_queries", "empty_queries", "tokens", "model_tokens", "turns", "outage", "entropy"),
        *("drift_mean", "drift_max", "effective_share", "gradient_norm", "distill/entropy_gap"),
        *("drift_mean_last", "drift_max_last", "effective_share_last"),
        *("zero/small_parts.by_token", "thought_tokens", "no_answer"),
    }
    sometimes = {"grad_norm/clipped_pg", "grad_norm/distill", "grad_ratio/distill"}
    assert [sometimes & set(step) for step in steps] == [sometimes, set(), sometimes]
    for step in steps:
        assert every <= set(step)
        assert step["drift_max"] < 1e-4  # the sampler's own numbers, before the first update
        assert step["drift_mean_last"] > 1e-3  # before the second, the policy has moved
        assert step["effective_share_last"] < step["effective_share"]
        assert step["model_tokens"] <= 2 * 8 < step["tokens"]


def test_measuring_leaves_the_weights_as_they_are_bit_for_bit(spec: Path) -> None:
    common = ["train.steps=2", "train.epochs=2", "train.tokens_per_batch=300"]
    off = weights(train(opened(spec, "name=off", *common, "monitors.gradients_every=0")).folder)
    on = train(opened(spec, "name=on", *common, "monitors.gradients_every=1")).folder
    assert any("grad_norm/distill" in line.get("train", {}) for line in figures(on))
    assert all(torch.equal(off[k], v) for k, v in weights(on).items())


def test_a_single_term_costs_nothing_to_measure(spec: Path) -> None:
    one = "objective={credit: [small_parts.by_token], terms: [clipped_pg]}"
    folder = train(opened(spec, one, "train.steps=1", "monitors.gradients_every=1")).folder
    (step,) = [line["train"] for line in figures(folder) if "train" in line]
    assert step["grad_norm/clipped_pg"] == step["gradient_norm"] > 0


def test_a_warning_is_said_and_recorded_once(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = "monitors={window: 1, searches: 0.5, invalid: null, entropy_gap: null, grad_ratio_high: null}"
    one = opened(spec, limits, "train.keep_checkpoints=9")
    folder = train(one).folder
    warned = [(m["step"], w["limit"], w["value"]) for m in figures(folder) for w in m.get("warnings", ())]
    assert (1, "searches", 0.0) in warned
    assert len(warned) == len({limit for _, limit, _ in warned})
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("warning: searches is 0; expected at least 0.5 (monitors.searches). The policy stops") == 1
    assert said.count("the first step taught little or nothing: no rollout earned a reward") == 1
    assert said.count("See what was played: sdsearch episode ") == 1
    for name in ("step_4", "step_3"):
        shutil.rmtree(folder / "checkpoints" / name)
    train(one, resume=True)
    assert "searches is 0" not in capsys.readouterr().out


def test_a_term_without_a_token_is_named(spec: Path) -> None:
    terms = "[clipped_pg, {type: distill, hint: hindsight, rows: query}]"  # and random weights never search
    two = opened(spec, f"objective={{credit: [small_parts.by_token], terms: {terms}}}", "monitors={window: 1}")
    notices = [w for line in figures(train(two).folder) for w in line.get("warnings", ())]
    assert [(w["figure"], w["value"]) for w in notices if w["limit"] == "rows"] == [("distill/rows", 0.0)]


def test_what_the_retriever_was_asked_is_recorded(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    always_searching(monkeypatch)
    folder = train(opened(spec, "train.steps=2")).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    asked = [[m["retrieval"][k] for k in ("calls", "queries", "unique", "cached", "outages")] for m in lines]
    # Of two turns the first is searched, once for all episodes that ask the same, and from then on it is known.
    assert asked == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    assert [m["train"]["repeated_queries"] for m in lines if "train" in m] == [0.5, 0.5]

"""Training: the step is the same however it is cut, goes on exactly where it stopped, and loses nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sdsearch.errors import CheckpointError, ModelError, RetrieverUnavailable
from sdsearch.policy import Policy
from sdsearch.spec import Experiment, load
from sdsearch.train import choose, train
from sdsearch.types import Action, Question


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
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_run_leaves_everything(spec: Path) -> None:
    folder = train(opened(spec)).folder
    assert [m["step"] for m in figures(folder) if "train" in m] == [1, 2, 3, 4]
    assert [m["step"] for m in figures(folder) if "evaluate" in m] == [0, 2, 4]
    assert {p.name for p in folder.iterdir()} >= {
        "spec.yaml",
        "environment.json",
        "metrics.jsonl",
        "learning_curve.png",
    }
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step_3", "step_4"]
    assert load(folder / "spec.yaml") == opened(spec)
    assert (folder / "trajectories" / "step_4.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("budget", [1, 300])
def test_micro_batches_change_nothing(spec: Path, budget: int) -> None:
    whole = weights(train(opened(spec, "name=whole", "train.steps=1")).folder)
    cut = weights(train(opened(spec, "name=cut", "train.steps=1", f"train.tokens_per_batch={budget}")).folder)
    start = Policy.load(opened(spec).agent).model.state_dict()  # type: ignore[arg-type]
    moved = max((whole[k] - start[k]).abs().max().item() for k in whole)
    assert moved > 1e-3
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], atol=2e-4, rtol=1e-3)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(spec: Path) -> None:
    keep = "train.keep_checkpoints=9"
    straight = train(opened(spec, "name=straight", keep)).folder
    stopped = train(opened(spec, "name=stopped", keep)).folder
    for name in ("step_4", "step_3"):  # as if it had been killed after some of step 3 was written down
        shutil.rmtree(stopped / "checkpoints" / name)
    train(opened(spec, "name=stopped", keep), resume=True)
    assert figures(stopped) == figures(straight)
    expected, got = weights(straight), weights(stopped)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(opened(spec, "name=stopped", keep), resume=True)


def test_a_run_is_not_overwritten(spec: Path) -> None:
    one = opened(spec, "train.steps=1")
    train(one)
    with pytest.raises(CheckpointError, match="--resume goes on with it, --fresh moves it aside"):
        train(one)
    with pytest.raises(CheckpointError, match="another spec"):
        train(opened(spec, "train.steps=2"), resume=True)
    train(one, fresh=True)
    assert (spec.parent / "runs" / "small" / "0.old1" / "metrics.jsonl").exists()


def test_a_damaged_checkpoint_is_named(spec: Path) -> None:
    one = opened(spec, "train.steps=1")
    path = train(one).folder / "checkpoints" / "step_1" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*remove"):
        train(one, resume=True)


def test_an_agent_without_weights_cannot_be_trained(spec: Path) -> None:
    with pytest.raises(ModelError, match="`scripted` has no weights to train: use `local`"):
        train(scripted(spec))


def scripted(spec: Path) -> Experiment:
    """Return the spec with a scripted agent."""
    text = spec.read_text()
    line = next(part for part in text.splitlines() if part.startswith("agent:"))
    spec.write_text(text.replace(line, "agent: {type: scripted}"))
    return opened(spec)


def test_questions_go_round_in_shuffled_epochs() -> None:
    questions = [Question(str(i), "", ("a",)) for i in range(5)]
    asked = [q.id for step in range(5) for q in choose(questions, step, 2, seed=7)]
    assert sorted(asked[:5]) == sorted(asked[5:]) == list("01234")
    assert asked[:5] != asked[5:]
    assert [q.id for q in choose(questions, 0, 12, seed=7)][:10] == asked


def test_the_student_never_sees_the_hint(spec: Path) -> None:
    folder = train(opened(spec, "train.steps=2")).folder
    text = "".join(p.read_text() for p in (folder / "trajectories").iterdir())
    assert "Question: Which city" in text
    assert "Earlier attempts" not in text


def test_a_lasting_outage_stops_the_run_with_a_checkpoint(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdsearch.retrieval import Cached

    def down(self: Cached, queries: object, k: int) -> None:
        raise RetrieverUnavailable("the retriever did not answer in time")

    monkeypatch.setattr(Cached, "search", down)
    monkeypatch.setattr("sdsearch.envs.protocol.search_r1.SearchR1.parse", lambda self, text: Action("search", text))
    with pytest.raises(RetrieverUnavailable, match=r"failed in 100% of the episodes.*--resume"):
        train(opened(spec))
    folder = spec.parent / "runs" / "small" / "0"
    assert (folder / "checkpoints" / "step_0" / "model.safetensors").exists()

"""Checkpoints: whole or absent, and never at the cost of an older one."""

from pathlib import Path

import pytest
import torch

from sdsearch import checkpoint
from sdsearch.errors import CheckpointError
from sdsearch.policy import Policy


def save(folder: Path, step: int, policy: Policy, keep: int = 2) -> Path:
    return checkpoint.save(folder, step, policy, {"optimizer": {"x": torch.ones(2)}}, {"name": "n"}, keep)


def test_what_was_saved_comes_back(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 3, tiny)
    about, state = checkpoint.load(path)
    assert about["step"] == 3
    assert state["optimizer"]["x"].tolist() == [1, 1]
    before = tiny.head.weight.detach().clone()
    with torch.no_grad():
        tiny.head.weight.zero_()
    checkpoint.restore(path, tiny)
    assert torch.equal(tiny.head.weight, before)


def test_only_the_newest_are_kept_in_order_of_step(tmp_path: Path, tiny: Policy) -> None:
    for step in (2, 10, 9):
        save(tmp_path, step, tiny)
    assert [p.name for p in checkpoint.saved(tmp_path)] == ["step_9", "step_10"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "about.json", "config.json"])
@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damage_is_found(tmp_path: Path, tiny: Policy, name: str, damage: str) -> None:
    path = save(tmp_path, 1, tiny) / name
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"remove .*step_1"):
        checkpoint.load(path.parent)


def test_a_disk_that_refuses_costs_nothing(tmp_path: Path, tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, tiny)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"step_2 could not be written.*No space left.*earlier checkpoints are"):
        save(tmp_path, 2, tiny, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step_1"]
    checkpoint.load(tmp_path / "step_1")


def test_weights_of_another_model_are_refused(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 1, tiny)
    tiny.model.model.layers.append(tiny.model.model.layers[0].__class__(tiny.model.config, 2))
    with pytest.raises(CheckpointError, match="weights of another model: missing"):
        checkpoint.restore(path, tiny)

"""Checkpoints: whole or absent, never at the cost of an older one; on disks that are full, forbidden or rotten."""

import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from sdsearch.errors import CheckpointError
from sdsearch.policy.policy import Policy
from sdsearch.runs import checkpoint
from sdsearch.runs.old_runs import ahead, move

Disk = Callable[[Path], AbstractContextManager[None]]


def save(folder: Path, step: int, policy: Policy, keep: int = 2) -> Path:
    return checkpoint.save(folder, step, policy, {"optimizer": {0: torch.ones(2)}}, {"spec": {"name": "n"}}, keep)


def names(folder: Path) -> list[str]:
    """Return all that is in a folder, hidden or not."""
    return sorted(p.name for p in folder.iterdir())


def test_what_was_saved_comes_back(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 3, tiny)
    about, state = checkpoint.load(path)
    assert (about["step"], about["spec"]) == (3, {"name": "n"})
    assert state["optimizer"][0].tolist() == [1, 1]
    before = tiny.head.weight.detach().clone()
    with torch.no_grad():
        tiny.head.weight.zero_()
    checkpoint.restore(path, tiny)
    assert torch.equal(tiny.head.weight, before)


def test_nothing_in_it_is_a_pickle(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 3, tiny)
    assert {p.suffix for p in path.rglob("*")} == {".safetensors", ".json", ".jsonl"}


def test_only_the_newest_are_kept_in_order_of_step(tmp_path: Path, tiny: Policy) -> None:
    for step in (2, 10, 9):
        save(tmp_path, step, tiny)
    assert names(tmp_path) == ["step_10", "step_9"]
    assert [p.name for p in checkpoint.saved(tmp_path)] == ["step_9", "step_10"]


@pytest.mark.parametrize(
    ("rewards", "best"),
    [
        ((0, 0, 0, 0, 0, 0), 5),  # the newest of equals, of those that a step has followed
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 5),
        ((0.5, 0.5, 0, 0, 0, 0), 1),  # the weights of step 1 still played step 2
        ((0.5, 0.5, 0.5, 0, 0, 0), 1),
        ((0.2, 0.2, 0.9, 0.2, 0.1, 0.1), 2),  # one lucky step says little
        ((float("nan"), 0.5, float("nan"), 0.1, float("nan"), 0.1), 1),
    ],
)
def test_the_best_is_kept_beside_the_newest(
    tmp_path: Path, tiny: Policy, rewards: tuple[float, ...], best: int
) -> None:
    """A destroyed policy earns nothing any more; the checkpoints from before are not rotated away."""
    told = dict(enumerate(rewards, 1))
    for step in range(1, 7):
        (tmp_path / f"step_{step}").mkdir()
    assert checkpoint.best(tmp_path, told) == tmp_path / f"step_{best}"
    assert checkpoint.best(tmp_path, {}) is None
    checkpoint.save(tmp_path, 6, tiny, {}, {}, 1, told)
    assert {p.name for p in checkpoint.saved(tmp_path)} == {f"step_{best}", "step_6"}


def test_what_a_killed_save_left_is_swept_up(tmp_path: Path, tiny: Policy) -> None:
    for name in (".step_1.partial", ".step_0.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    assert checkpoint.saved(tmp_path) == []
    save(tmp_path, 2, tiny)
    assert names(tmp_path) == ["step_2"]


def test_a_whole_checkpoint_of_the_same_step_stays_and_a_broken_one_is_replaced(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 1, tiny)
    written = path.stat().st_ino
    assert save(tmp_path, 1, tiny).stat().st_ino == written
    (path / "state.json").unlink()
    assert save(tmp_path, 1, tiny).stat().st_ino != written
    checkpoint.load(path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """Flip one bit in the middle; in `about.json`, the lowest one of the step, which leaves it readable."""
    data = bytearray(path.read_bytes())
    at = data.index(b'"step": ') + len('"step": ') if path.name == "about.json" else len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)


FILES = ["model.safetensors", "state.safetensors", "state.json", "about.json", "config.json", "tokenizer.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncated, flipped, Path.unlink])
def test_damage_is_found(tmp_path: Path, tiny: Policy, name: str, damage: Callable[[Path], None]) -> None:
    (tmp_path / "spec.yaml").touch()
    older, newer = (save(tmp_path / "checkpoints", step, tiny) for step in (1, 2))
    damage(newer / name)
    with pytest.raises(CheckpointError, match=r"step_2.* is (damaged|not a whole checkpoint): ") as caught:
        checkpoint.load(newer)
    way_out = (
        f"{older} is whole: mend step_2, or go on from step_1 with\n  mv {newer} {newer}.broken && sdsearch train "
    )
    assert way_out in str(caught.value)
    assert name in str(caught.value) or (name == "about.json" and "JSONDecodeError" in str(caught.value))
    checkpoint.load(older)
    damage(older / name)
    with pytest.raises(
        CheckpointError, match=r"No other one in .* is whole\. Put it right, or move the run aside"
    ) as caught:
        checkpoint.load(newer)
    assert str(caught.value).endswith(f"\n  mv {tmp_path} {tmp_path}.old1")


@pytest.mark.parametrize("place", ["agents/weights/policy", "mine/checkpoints/step_1", "step_1", "run/other/step_1"])
def test_no_remedy_touches_what_no_run_has_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.yaml").touch()
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="It is in no folder of a run: expected one such as") as caught:
        checkpoint.load(tmp_path / place)
    assert "mv " not in str(caught.value)
    assert "mv " not in ahead(tmp_path / place)
    assert "mv " not in move(tmp_path / place)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Mount a real file system of 2 MB there, or skip where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def limited(folder: Path) -> Iterator[None]:
    """Let no file grow beyond 32 kB."""
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(folder: Path) -> None:
    """Leave 40 kB of a small file system, less than one checkpoint."""
    free = os.statvfs(folder)
    (folder / "ballast").write_bytes(b"\0" * (free.f_bavail * free.f_bsize - 40_000))


def limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    ("disk", "exhaust", "why", "advice"),
    [(full, fill, "No space left", "make room"), (limited, limit, "File too large", "allow larger files")],
)
def test_a_disk_that_refuses_costs_nothing(
    tmp_path: Path, tiny: Policy, disk: Disk, exhaust: Callable[[Path], None], why: str, advice: str
) -> None:
    folder = tmp_path / "disk"
    with disk(folder):
        save(folder, 1, tiny)
        exhaust(folder)
        with pytest.raises(
            CheckpointError, match=rf"step_2 could not be written: .*{why}.*Earlier checkpoints are .*: {advice}"
        ):
            save(folder, 2, tiny, keep=1)
        assert [n for n in names(folder) if n != "ballast"] == ["step_1"]
        checkpoint.load(folder / "step_1")


@contextmanager
def nobody() -> Iterator[Path]:
    """Give a folder that everybody may read; `drop` inside goes on as a user whom permissions bind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            os.seteuid(os.getuid())
            folder.chmod(0o755)


def drop() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_a_folder_that_may_not_be_written_is_named(tiny: Policy) -> None:
    with nobody() as folder:
        save(folder, 1, tiny)
        folder.chmod(0o555)
        drop()
        with pytest.raises(
            CheckpointError, match=r"step_2 could not be written: .*Permission denied.* give permission to"
        ):
            save(folder, 2, tiny)
        os.seteuid(os.getuid())
        assert names(folder) == ["step_1"]
        checkpoint.load(folder / "step_1")


def test_a_file_that_may_not_be_read_is_named(tiny: Policy) -> None:
    with nobody() as folder:
        path = save(folder, 1, tiny)
        for file in path.iterdir():
            file.chmod(0o444 if file.name < "state" else 0)
        drop()
        with pytest.raises(CheckpointError, match=r"not a whole checkpoint: PermissionError: .*state\.json"):
            checkpoint.load(path)


def test_weights_of_another_model_are_refused(tmp_path: Path, tiny: Policy) -> None:
    path = save(tmp_path, 1, tiny)
    layers = tiny.model.model.layers
    layers.append(layers[0].__class__(tiny.model.config, 2))
    with pytest.raises(CheckpointError, match="weights of another model: missing"):
        checkpoint.restore(path, tiny)
    del layers[2]
    layer = layers[1]
    del layers[1]
    with pytest.raises(
        CheckpointError, match=r"weights of another model: missing \[\], unexpected \['model\.layers\.1"
    ):
        checkpoint.restore(path, tiny)
    layers.append(layer)
    layers[1].mlp.up_proj = torch.nn.Linear(32, 65, bias=False)
    with pytest.raises(CheckpointError, match=r"(?s)weights of another model: .*size mismatch"):
        checkpoint.restore(path, tiny)

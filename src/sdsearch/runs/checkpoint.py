"""Save and load a training state: written beside its place, then renamed, so that a checkpoint is whole or absent.

A checkpoint is a model folder like any other (`model.name` can name it), plus what is needed to go on as if nothing
had happened: tensors in `state.safetensors`, the rest in `state.json`, and in `about.json` the step, the spec and the
sha256 of every file. Nothing in it is a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from sdsearch.errors import CheckpointError, advice
from sdsearch.runs.old_runs import NO_RUN, ahead, made

if TYPE_CHECKING:
    from sdsearch.policy.policy import Policy

LOG = "metrics.jsonl"
"""The run's figures so far, which a run that goes on must still have."""
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)
"""What reading a file raises that is not what was written."""


def save(
    folder: Path,
    step: int,
    policy: Policy,
    state: dict[str, Any],
    about: dict[str, Any],
    keep: int,
    rewards: Mapping[int, float] | None = None,
    log: str = "",
) -> Path:
    """Write `folder/step_<step>` and remove all but the newest `keep` and, by the `rewards` of the steps, the best.

    `state` is what `runs.state.Packed` takes; `about` is plain JSON, `log` what metrics.jsonl says so far. A whole
    checkpoint of that step that is there already stays as it is. Raises `CheckpointError` when the disk refuses; older
    checkpoints are then untouched.
    """
    target, partial = folder / f"step_{step}", folder / f".step_{step}.partial"
    try:
        if target.exists() and not fault(target):
            return target
        sweep(folder)
        partial.mkdir(parents=True)
        write(partial, policy, state)
        (partial / LOG).write_text(log)
        files = {p.relative_to(partial).as_posix(): digest(p) for p in sorted(partial.rglob("*")) if p.is_file()}
        whole = {"step": step, **about, "files": files}
        (partial / "about.json").write_text(json.dumps({**whole, "sha256": seal(whole)}, indent=1))
        for path in (*partial.rglob("*"), partial):
            sync(path)
        hide(target)
        partial.rename(target)
        sync(folder)
        stays = {*saved(folder)[-keep:], best(folder, rewards or {})}
        for old in (path for path in saved(folder) if path not in stays):
            hide(old)
        sweep(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{target} could not be written: {error}. Earlier checkpoints are untouched: {advice(error)}, then "
            "go on from the newest one with --resume"
        ) from error
    return target


def write(folder: Path, policy: Policy, state: dict[str, Any]) -> None:
    """Write the model, its tokeniser and a state into an empty folder."""
    from safetensors.torch import save_file

    from sdsearch.runs.state import Packed

    # One file under the names that the model has in memory: `restore` puts it back without any conversion.
    policy.model.save_pretrained(folder, max_shard_size=1 << 60, save_original_format=False)
    policy.codec.tokenizer.save_pretrained(folder)
    packed = Packed()
    (folder / "state.json").write_text(json.dumps(packed.pack(state)))
    save_file(packed.tensors, folder / "state.safetensors")


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def hide(path: Path) -> None:
    """Take a checkpoint out of sight at once: removing it takes many steps, and half of one must not be found."""
    if path.exists():
        path.rename(path.with_name(f".{path.name}.old"))


def sweep(folder: Path) -> None:
    """Remove what a save that was cut off has left."""
    for path in folder.glob(".step_*"):
        shutil.rmtree(path)


def saved(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    checkpoints = [p for p in folder.glob("step_*") if p.name.removeprefix("step_").isdigit()]
    return sorted(checkpoints, key=number)


def number(path: Path) -> int:
    """Return after how many steps a checkpoint was written."""
    return int(path.name.removeprefix("step_"))


AROUND = 10
"""So many steps before a checkpoint, and after it, tell how good it is."""


def best(folder: Path, rewards: Mapping[int, float]) -> Path | None:
    """Return the checkpoint with the best training reward, the newest of equals; None where no step tells.

    A checkpoint is as good as the mean reward of the steps before it or after it, whichever is worse: its own weights
    play the step after it, which alone can tell of a destroyed policy, and is one lucky step as often as not. Nothing
    is known of a checkpoint that no step has followed.
    """

    def worth(path: Path) -> float:
        at = number(path)
        sides = (range(at - AROUND + 1, at + 1), range(at + 1, at + AROUND + 1))
        known = [[rewards[s] for s in side if isfinite(rewards.get(s, nan))] for side in sides]
        return min(sum(side) / len(side) for side in known if side)

    told = [p for p in saved(folder) if any(isfinite(r) and 0 < s - number(p) <= AROUND for s, r in rewards.items())]
    return max(told, key=lambda p: (worth(p), number(p)), default=None)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (`about`, `state`) of a checkpoint.

    Raises `CheckpointError` when a file is missing or damaged, naming the newest older one that is whole.
    """
    from safetensors.torch import load_file

    from sdsearch.runs.state import unpack

    if wrong := fault(path):
        raise CheckpointError(f"{wrong}. {remedy(path)}")
    about: dict[str, Any] = json.loads((path / "about.json").read_text())
    # Copies: what safetensors returns lies in the file, aligned otherwise than what torch allocates.
    tensors = {name: tensor.clone() for name, tensor in load_file(path / "state.safetensors").items()}
    return about, unpack(json.loads((path / "state.json").read_text()), tensors)


def fault(path: Path) -> str:
    """Say what is wrong with a checkpoint: nothing ("") when each file is as it was written."""
    try:
        about = json.loads((path / "about.json").read_text())
        if about.pop("sha256") != seal(about):
            return f"{path / 'about.json'} is damaged: its sha256 is not that of what it says"
        for name, expected in about["files"].items():
            if (got := digest(path / name)) != expected:
                return f"{path / name} is damaged: sha256 is {got[:12]}..., expected {expected[:12]}..."
    except DAMAGE as error:
        return f"{path} is not a whole checkpoint: {type(error).__name__}: {error}"
    return ""


def remedy(path: Path) -> str:
    """Say how to go on in spite of a checkpoint that cannot be loaded."""
    if path.parent.name != "checkpoints" or not made(path.parents[1]):
        return NO_RUN
    older = [p for p in saved(path.parent) if p.name != path.name]
    whole = next((p for p in reversed(older) if not fault(p)), None)
    spec = quote(str(path.parents[1] / "spec.yaml"))
    if whole is None:
        return f"No other one in {path.parent} is whole. {ahead(path.parents[1])}"
    aside = quote(f"{path}.broken")
    return (
        f"{whole} is whole: mend {path.name}, or go on from {whole.name} with\n"
        f"  mv {quote(str(path))} {aside} && sdsearch train {spec} --resume"
    )


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(about: dict[str, Any]) -> str:
    """Return the sha256 of what `about.json` says."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def restore(path: Path, policy: Policy) -> None:
    """Put the weights of a checkpoint into a policy, exactly. Raises `CheckpointError` when they do not fit it."""
    from safetensors.torch import load_model

    try:
        missing, unexpected = load_model(policy.model, path / "model.safetensors", strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise CheckpointError(f"{path} holds the weights of another model: {error}") from error
    if missing or unexpected:
        raise CheckpointError(
            f"{path} holds the weights of another model: missing {sorted(missing)}, unexpected {sorted(unexpected)}"
        )

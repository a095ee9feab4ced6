"""Save and load a training state: written beside its place, then renamed, so that a checkpoint is whole or absent.

A checkpoint is a model folder like any other (`agent.model` can name it), plus the optimiser and what is needed to go
on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from sdsearch.errors import CheckpointError
from sdsearch.policy import Policy


def save(folder: Path, step: int, policy: Policy, state: dict[str, Any], about: dict[str, Any], keep: int) -> Path:
    """Write `folder/step_<step>` and remove all but the newest `keep`.

    `state` holds tensors (optimiser, schedule, averaged weights); `about` is plain JSON. Raises `CheckpointError` when
    the disk refuses; older checkpoints are then untouched.
    """
    target = folder / f"step_{step}"
    partial = folder / f".step_{step}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        policy.model.save_pretrained(partial, safe_serialization=True)
        policy.tokenizer.save_pretrained(partial)
        torch.save(state, partial / "training.pt")
        files = {p.name: digest(p) for p in sorted(partial.iterdir())}
        (partial / "about.json").write_text(json.dumps({"step": step, **about, "files": files}, indent=1))
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"{target} could not be written: {error}; earlier checkpoints are untouched") from error
    for old in saved(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def saved(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    found = [p for p in folder.glob("step_*") if p.name.removeprefix("step_").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step_")))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (`about`, `state`) of a checkpoint. Raises `CheckpointError` when a file is missing or damaged."""
    try:
        about = json.loads((path / "about.json").read_text())
        for name, expected in about["files"].items():
            if (got := digest(path / name)) != expected:
                raise CheckpointError(
                    f"{path / name} is damaged: sha256 is {got[:12]}..., expected {expected[:12]}...; "
                    f"remove {path} to go on from the checkpoint before it"
                )
        state = torch.load(path / "training.pt", weights_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint: {error}; remove {path} to go on from an older one"
        ) from error
    return about, state


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(path: Path, policy: Policy) -> None:
    """Put the weights of a checkpoint into a policy, exactly. Raises `CheckpointError` when they do not fit it."""
    from safetensors.torch import load_model

    missing, unexpected = load_model(policy.model, path / "model.safetensors", strict=False)
    if missing or unexpected:
        raise CheckpointError(f"{path} holds the weights of another model: missing {missing}, unexpected {unexpected}")

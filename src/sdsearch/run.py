"""The folder that a run leaves: spec, machine, metrics, trajectories, checkpoints, pictures."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdsearch import checkpoint
from sdsearch.errors import CheckpointError
from sdsearch.spec import Experiment
from sdsearch.trajectory import Group, write_groups

PACKAGES = (
    "sdsearch",
    "torch",
    "transformers",
    "accelerate",
    "chromadb",
    "gymnasium",
    "sentence-transformers",
    "numpy",
)


class Run:
    """`<out>/<name>/<seed>/` of one experiment."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        """Use `Run.open`."""
        self.folder, self.experiment = folder, experiment

    @classmethod
    def open(cls, experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
        """Make the folder, or take up the one that is there.

        Raises `CheckpointError` when there is a run already and neither `resume` nor `fresh` says what to do with it,
        or when `resume` would go on with another spec. `fresh` moves the old run aside.
        """
        folder = experiment.folder
        spec = folder / "spec.yaml"
        if spec.exists() and resume:
            if spec.read_text() != experiment.dump():
                raise CheckpointError(
                    f"{folder} was made from another spec than this one (compare it with {spec}): "
                    "resume with the spec that it was started with, or use --fresh"
                )
            return cls(folder, experiment)
        if spec.exists() and not fresh:
            raise CheckpointError(f"{folder} holds a run already: --resume goes on with it, --fresh moves it aside")
        if spec.exists():
            aside = next(p for i in range(1, 10**6) if not (p := folder.with_name(f"{folder.name}.old{i}")).exists())
            folder.rename(aside)
        (folder / "trajectories").mkdir(parents=True, exist_ok=True)
        (folder / "environment.json").write_text(json.dumps(machine(), indent=1))
        spec.write_text(experiment.dump())
        return cls(folder, experiment)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.folder / "checkpoints"

    def record(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return all that was recorded."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def keep(self, name: str, groups: Sequence[Group]) -> None:
        """Write trajectories under a name such as `step_12`."""
        write_groups(self.folder / "trajectories" / f"{name}.jsonl", groups)

    def rewind(self, step: int) -> None:
        """Drop what was recorded after `step` steps: a run that goes on from there records it again."""
        path = self.folder / "metrics.jsonl"
        kept = [m for m in self.metrics() if m["step"] <= step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(m) + "\n" for m in kept))
        partial.replace(path)

    def newest(self) -> Path:
        """Return the newest checkpoint. Raises `CheckpointError` when there is none."""
        found = checkpoint.saved(self.checkpoints)
        if not found:
            raise CheckpointError(f"{self.checkpoints} holds no checkpoint to resume from: start with --fresh")
        return found[-1]


def machine() -> dict[str, Any]:
    """Say on what this runs: versions, commit, processor."""
    found = {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name}
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    commit = ""
    if git and (root / ".git").exists():
        asked = subprocess.run([git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        commit = asked.stdout.strip() if asked.returncode == 0 else ""
    return {
        "python": platform.python_version(),
        "packages": {p: found[p] for p in PACKAGES if p in found},
        "commit": commit or None,
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }

"""What a run was made by: versions, commit, processor, and the code of the components that its spec names.

A spec names a component by a path. Two runs of equal specs can therefore be runs of different code, and their figures
would meet in one table: so the source file of each component is hashed when a run begins; what it imports is not.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from sdsearch.config.called import parts
from sdsearch.config.component import Settings
from sdsearch.errors import CheckpointError
from sdsearch.runs.checkpoint import digest
from sdsearch.runs.old_runs import ahead
from sdsearch.spec import Experiment

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
NAME = "environment.json"


def origin(experiment: Experiment) -> dict[str, Any]:
    """Return what environment.json holds."""
    return machine() | {"code": code(experiment)}


def recorded(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder was made by; nothing where it has not begun.

    Raises `CheckpointError` when its file is damaged.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CheckpointError(
            f"{path}{line}: got what is no JSON ({error}), expected a JSON object. {ahead(folder)}"
        ) from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{path}:1: got a {type(record).__name__}, expected a JSON object. {ahead(folder)}")
    for key in ("packages", "code"):
        if not isinstance(record.get(key, {}), dict):
            raise CheckpointError(f"{path}: {key}: got {record[key]!r:.80}, expected a JSON object. {ahead(folder)}")
    return record


def machine() -> dict[str, Any]:
    """Say on what this runs: versions, commit, processor."""
    versions = {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name}
    return {
        "python": platform.python_version(),
        "packages": {p: versions[p] for p in PACKAGES if p in versions},
        "commit": commit(Path(__file__).resolve().parents[3]),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }


def commit(root: Path) -> str | None:
    """Return the commit of a git checkout, and whether there are changes to it; None when it is no checkout."""
    program = shutil.which("git")
    if not program or not (root / ".git").exists():
        return None

    def git(*words: str) -> str | None:
        # Without locks: runs that begin at the same time, and whoever commits meanwhile, must not meet one.
        command = [program, "--no-optional-locks", "-C", str(root), *words]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        return asked.stdout.strip() if asked.returncode == 0 else None

    head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    return f"{head} and changes" if head and changes else head


def code(experiment: Experiment) -> dict[str, str]:
    """Return, for each class of component in a spec, its name -> the first 16 digits of its file's sha256."""
    files = sources(experiment)
    return {name: digest(path)[:16] for name, path in sorted(files.items())}


def sources(experiment: Experiment) -> dict[str, Path]:
    """Return the files of the components in a spec, and of what they derive from, by `module:Class`.

    Without the contracts: they say what a component has to do, not what one does.
    """
    bases = {c for _, part in parts(experiment) for c in type(part).__mro__ if issubclass(c, Settings)}
    classes = {c for c in bases if not c.__module__.startswith(("sdsearch.contracts.", "sdsearch.config."))}
    files = {c: getattr(sys.modules.get(c.__module__), "__file__", None) for c in classes if "family" not in vars(c)}
    return {f"{c.__module__}:{c.__qualname__}": Path(f) for c, f in files.items() if f and Path(f).is_file()}

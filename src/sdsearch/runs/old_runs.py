"""Where old runs go: they are moved aside, never removed and never overwritten."""

from __future__ import annotations

from pathlib import Path
from shlex import quote


def free(folder: Path) -> Path:
    """Return the first of `<folder>.old1`, `.old2`, ... that is not there."""
    names = (folder.with_name(f"{folder.name}.old{i}") for i in range(1, 10**6))
    return next(path for path in names if not path.exists())


def made(folder: Path) -> bool:
    """Say whether a folder holds a run, or the runs of an arm: no advice is given about any other."""
    try:
        places = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    except OSError:
        return False
    return any((place / name).is_file() for place in places for name in ("spec.yaml", "metrics.jsonl"))


NO_RUN = "It is in no folder of a run: expected one such as runs/<name>/<seed>, where nothing was moved or renamed"


def move(folder: Path) -> str:
    """Return the command that moves the folder of a run aside; it never names what no run has made."""
    if not made(folder):
        return NO_RUN
    return f"mv {quote(str(folder))} {quote(str(free(folder)))}"


def ahead(run: Path) -> str:
    """Say how to go on without a run whose files are damaged or missing: by `train --resume` and in a study alike."""
    if not made(run):
        return NO_RUN
    return f"Put it right, or move the run aside and give the same command again, which begins it anew:\n  {move(run)}"

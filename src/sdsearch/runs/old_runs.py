"""Where old runs go: they are moved aside, never removed and never overwritten."""

from __future__ import annotations

from pathlib import Path
from shlex import quote


def free(folder: Path) -> Path:
    """Return the first of `<folder>.old1`, `.old2`, ... that is not there."""
    names = (folder.with_name(f"{folder.name}.old{i}") for i in range(1, 10**6))
    return next(path for path in names if not path.exists())


def move(folder: Path) -> str:
    """Return the command that moves a folder aside."""
    return f"mv {quote(str(folder))} {quote(str(free(folder)))}"


def ahead(run: Path) -> str:
    """Say how to go on without a run whose files are damaged or missing: by `train --resume` and in a study alike."""
    return f"Put it right, or move the run aside and give the same command again, which begins it anew:\n  {move(run)}"

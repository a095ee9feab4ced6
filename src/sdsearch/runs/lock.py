"""One process at a time works in a run's folder, as long as its run lives; whoever comes second is told who does.

Two processes in one folder would write each other's lines and checkpoints: a sweep that forgets to give its runs names
of their own is enough. The lock lies beside the folder, since `--fresh` moves that aside, and ends with its process.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sdsearch.errors import CheckpointError, advice


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. Raises `CheckpointError` that says who is in it."""
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(
            f"{folder} is in use by {holder(path)}. Wait for it or end it, or give this run a folder of its own: "
            "another name (--set name=...), seed (--set seed=...) or place (--out)"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be used: {error}. Now {advice(error)}") from error
    try:
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        path.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "began": began}))
        yield
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Say who holds a lock, as far as its file tells: it may be about to write it."""
    try:
        who = json.loads(path.read_text())
        return f"process {who['process']} on {who['host']}, which began at {who['began']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

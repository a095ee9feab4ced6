"""Hold a file lock, and say so while another process has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console


@contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """Keep other processes that hold the lock file `path` out of a block; print `waiting` when one of them is in it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        Console(stderr=True).print(waiting, highlight=False, markup=False, soft_wrap=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

"""The processes of a study: each run its own, so many at once; what has run already is told by its record."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import NamedTuple

from filelock import FileLock, Timeout

from sdsearch.config.yaml import write
from sdsearch.errors import StudyError
from sdsearch.runs.folder import replace
from sdsearch.study.progress import Board
from sdsearch.study.record import Record
from sdsearch.study.spec import Job, Study

PAUSE = 0.2
"""Seconds between two looks at a process."""
TAIL = 15
"""Lines of a failed run's log that are shown."""


class Call(NamedTuple):
    """What starts a run, here or on another machine: all paths are absolute."""

    spec: Path
    log: Path
    folder: Path
    """In which the process works: relative paths of the spec start there."""
    environment: dict[str, str]


@dataclass
class Stop:
    """What the study wishes of its runs."""

    asked: Event = field(default_factory=Event)
    """To stop after the current step, with a checkpoint."""
    now: Event = field(default_factory=Event)
    """To stop at once."""


Attempt = Callable[[Call, Stop], int]


def attempt(call: Call, stop: Stop) -> int:
    """Run one process to its end, and return its exit code; 0: done, negative: the signal that killed it."""
    # Without -P, whatever lies in the folder of the command could be imported: modules come from PYTHONPATH alone.
    command = [sys.executable, "-P", "-m", "sdsearch.study.worker", str(call.spec)]
    with (
        call.log.open("ab") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=call.folder,
            env={**os.environ, **call.environment},
            process_group=0,  # Ctrl-C at the terminal is for the study alone
        ) as process,
    ):
        assert process.stdin is not None
        with suppress(KeyboardInterrupt):  # this is how Ray cancels a task
            while process.poll() is None and not stop.asked.wait(PAUSE):
                pass
        process.stdin.close()
        while process.poll() is None:
            if stop.now.wait(PAUSE):
                process.kill()
    return process.returncode


def call(job: Job, study: Study) -> Call:
    """Write the spec of a run beside its folder, and return what starts it."""
    path = job.beside("yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda file: file.write_text(write(job.written)))
    environment = {
        "OMP_NUM_THREADS": str(study.threads),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path),
        "PYTHONUNBUFFERED": "1",
    }
    return Call(path.absolute(), job.beside("log").absolute(), Path.cwd(), environment)


@contextmanager
def alone(study: Study) -> Iterator[None]:
    """Keep other processes from running the same study. Raises `StudyError` when one does."""
    study.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(study.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyError(
            f"another process runs the study in {study.folder}: wait for it or end it, or give this one another "
            "name (--set name=...)"
        ) from error
    try:
        yield
    finally:
        lock.release()


def run(study: Study, missing: Sequence[Job], board: Board, play: Attempt = attempt) -> dict[Job, str]:
    """Run what is missing, and return for each job that failed what to say about it.

    Ctrl-C lets every run end its step and save; a second one ends them at once. Either is passed on.
    """
    stop, failed = Stop(), dict[Job, str]()
    pool = ThreadPoolExecutor(study.workers)
    ahead: dict[Future[int], Job] = {}
    try:
        for job in missing:
            ahead[pool.submit(play, call(job, study), stop)] = job
        while ahead:
            done, _ = wait(ahead, 1.0, FIRST_COMPLETED)
            for future in done:
                job = ahead.pop(future)
                if reason := outcome(job, future):
                    failed[job] = reason
                board.ended(job, failed.get(job, ""))
            board.show([job for future, job in ahead.items() if future.running()])
    except KeyboardInterrupt as error:
        try:
            stop.asked.set()
            pool.shutdown(wait=False, cancel_futures=True)
            board.say("each run stops after its step, with a checkpoint; Ctrl-C again stops them at once")
            begun = [future for future in ahead if not future.cancelled()]
            while wait(begun, 1.0).not_done:  # without a limit, a signal that comes as it begins would go unnoticed
                pass
        except KeyboardInterrupt:
            stop.now.set()
        raise KeyboardInterrupt("stopped; the same command goes on") from error
    finally:
        stop.asked.set()
        pool.shutdown(cancel_futures=True)
    return failed


def outcome(job: Job, future: Future[int]) -> str:
    """Return what went wrong with a run that has ended; nothing when it is done."""
    if error := future.exception():
        return f"could not be run: {type(error).__name__}: {error}"
    code = future.result()
    if code == 0 and Record.of(job).done:
        return ""
    log = job.beside("log")
    lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
    why = f"killed by signal {-code}{' (out of memory?)' * (code == -9)}" if code < 0 else f"exit code {code}"
    return "\n".join([f"{why}, after step {Record.of(job).steps}; the end of {log}:", *(f"  {x}" for x in lines)])

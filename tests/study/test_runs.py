"""Processes and interrupts of a study, without any training."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from threading import Lock

import pytest
from rich.console import Console

from sdsearch.config.load import load_any
from sdsearch.study.progress import Board
from sdsearch.study.runs import Call, Stop, attempt, run
from sdsearch.study.spec import Study, jobs

Write = Callable[..., Path]


def call(folder: Path) -> Call:
    """Return what starts a run whose spec is not there."""
    return Call(folder / "0.yaml", folder / "0.log", folder, {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_a_process_that_fails_leaves_its_words_in_the_log(tmp_path: Path) -> None:
    assert attempt(call(tmp_path), Stop()) == 1
    assert (tmp_path / "0.log").read_text().endswith("0.yaml: cannot be read: No such file or directory\n")


def test_a_run_waits_for_the_one_that_holds_its_lock_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    stop, log = Stop(), tmp_path / "0.log"
    with (tmp_path / "0.lock").open("w") as file, ThreadPoolExecutor(2) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        first = pool.submit(attempt, call(tmp_path), stop)
        while not (log.exists() and "waiting for another process that runs" in log.read_text()):
            assert not first.done(), log.read_text()
            time.sleep(0.05)
        stop.asked.set()
        assert first.result() == 130
        assert "Traceback" not in log.read_text()
        second = pool.submit(attempt, call(tmp_path), Stop())
        while log.read_text().count("waiting for another process") < 2:
            time.sleep(0.05)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert second.result() == 1  # it went on, and found no spec


def test_what_cannot_be_started_stops_no_other(study: Write) -> None:
    loaded = load_any(study())
    begun = list[str]()

    def play(call: Call, stop: Stop) -> int:
        begun.append(call.spec.parent.name)
        raise OSError("no space left")

    assert isinstance(loaded.spec, Study)
    planned = jobs(loaded)
    with Board(planned, [], Console(file=StringIO())) as board:
        failed = run(loaded.spec, planned, board, play)
    assert len(begun) == len(planned)
    assert set(failed.values()) == {"could not be run: OSError: no space left"}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise, as at a terminal: what runs in the background of a script is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_stops_what_runs_and_begins_nothing_else(study: Write, signals: int) -> None:
    loaded = load_any(study())
    planned = jobs(loaded)
    begun, ended, counting = list[str](), list[tuple[bool, bool]](), Lock()

    def play(call: Call, stop: Stop) -> int:
        with counting:
            begun.append(call.spec.name)
            last = len(begun) == 2
        if last:
            os.kill(os.getpid(), signal.SIGINT)
        stop.asked.wait()
        if signals == 2 and last:
            while "Ctrl-C again" not in screen.export_text(clear=False):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        if signals == 2:
            stop.now.wait()
        ended.append((stop.asked.is_set(), stop.now.is_set()))
        return 130

    screen = Console(record=True, width=100, file=StringIO())
    assert isinstance(loaded.spec, Study)
    with Board(planned, [], screen) as board, pytest.raises(KeyboardInterrupt, match="the same command"):
        run(loaded.spec, planned, board, play)
    assert len(begun) == 2  # of four: there are two workers
    while len(ended) < 2:  # at once means without waiting for them
        time.sleep(0.01)
    assert ended == [(True, signals == 2)] * 2
    assert screen.export_text() == "each run stops after its step, with a checkpoint; Ctrl-C again stops them at once\n"

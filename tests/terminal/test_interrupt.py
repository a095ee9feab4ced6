"""Signals: each is a wish, a second Ctrl-C is an order; the training command keeps what it had."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdsearch.terminal.interrupt import Interrupt


def test_the_first_is_a_wish_and_the_second_an_order() -> None:
    said: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(said.append) as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) == before
    assert len(said) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_processes_asks_too(number: signal.Signals) -> None:
    """Again and again, and Ctrl-C beside it: only a second Ctrl-C is an order."""
    said: list[str] = []
    before = signal.getsignal(number)
    with Interrupt(said.append) as interrupt:
        for sent in (number, number, signal.SIGINT, number):
            os.kill(os.getpid(), sent)
            assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(number) == before
    assert said[0] == f"stopping after this step, with a checkpoint ({number.name})"
    assert said[2] == "stopping after this step, with a checkpoint; Ctrl-C again stops at once"


def test_a_run_that_was_told_to_outlive_its_terminal_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt(print) as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.asked
    finally:
        signal.signal(signal.SIGHUP, before)


LOOP = """
import sys, time
from pathlib import Path
from sdsearch.terminal.interrupt import Interrupt
with Interrupt(print) as interrupt:
    while not interrupt.asked:
        print("at work", flush=True)
        time.sleep(0.01)
    for i in range(100):
        print("saving", flush=True)
Path(sys.argv[1]).write_text("saved")
"""


def test_a_closed_terminal_leaves_time_to_save(tmp_path: Path) -> None:
    number, terminal = pty.fork()
    if number == 0:
        os.execv(sys.executable, [sys.executable, "-c", LOOP, str(tmp_path / "saved")])
    assert b"at work" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
    assert (tmp_path / "saved").read_text() == "saved"


def test_a_terminated_command_saves_and_goes_on(spec: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{spec.parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "sdsearch", "train", str(spec), "--set", "train.checkpoint_every=0"]
    long = ["--set", "train.steps=5000", "--set", "train.evaluate_every=0"]
    metrics = spec.parent / "runs" / "small" / "0" / "metrics.jsonl"
    with subprocess.Popen([*command, *long], env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (metrics.exists() and metrics.read_text().count('"train": {') >= 2):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)  # as schedulers do
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in error
    assert "Traceback" not in error
    done = metrics.read_text().count('"train": {')
    assert [p.name for p in (metrics.parent / "checkpoints").iterdir()] == [f"step_{done}"]

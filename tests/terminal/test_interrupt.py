"""Ctrl-C: the first is a wish, the second an order; the training command keeps what it had."""

import os
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


def test_an_interrupted_command_saves_and_goes_on(spec: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{spec.parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "sdsearch", "train", str(spec), "--set", "train.checkpoint_every=0"]
    long = ["--set", "train.steps=5000", "--set", "train.evaluate_every=0"]
    metrics = spec.parent / "runs" / "small" / "0" / "metrics.jsonl"
    with subprocess.Popen([*command, *long], env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (metrics.exists() and metrics.read_text().count('"train": {') >= 2):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in error
    assert "Traceback" not in error
    done = metrics.read_text().count('"train": {')
    assert [p.name for p in (metrics.parent / "checkpoints").iterdir()] == [f"step_{done}"]

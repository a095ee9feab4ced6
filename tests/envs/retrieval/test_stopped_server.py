"""A server that takes a connection and answers nothing, as one that was stopped does: commands end, and say why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.runs.folder import Run

PARTS = """
from zlib import crc32

from sdsearch.contracts.environment import Action
from sdsearch.envs.protocol.search_r1 import SearchR1


class Asks(SearchR1):
    def parse(self, text):
        return Action("search", f"Rome {crc32(text.encode())}")
"""
SPEC = """
base: {small}
name: small
environment:
  protocol: {{type: "asking:Asks"}}
  retriever: {{type: chroma, host: 127.0.0.1, port: {port}, corpus: {corpus}, embedder: hashing}}
  patience: {{seconds: 5, retries: 0, pause: 0}}
train: {{steps: 12, evaluate_every: 0, checkpoint_every: 0}}
"""
PROGRAM = "from sdsearch.cli import main; main()"
LONG = 300
"""Seconds that a command may take on a busy machine: what hangs takes for ever."""


def told(*words: str | Path) -> tuple[int, str]:
    """Return the exit code of a command, and what it said."""
    since = time.monotonic()
    done = CliRunner().invoke(app, [*map(str, words)])
    assert time.monotonic() - since < LONG
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.slow
def test_commands_end_when_the_server_is_stopped(
    spec: Path, port: int, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec.parent / "asking.py").write_text(PARTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(spec.parent), *sys.path]))
    asking = spec.with_name("asking.yaml")
    corpus = f"{{type: jsonl, path: {spec.parent}/corpus.jsonl}}"
    asking.write_text(SPEC.format(small=spec, port=port, corpus=corpus))
    folder = spec.parent / "runs" / "small" / "0"

    log = folder / "metrics.jsonl"
    command = [sys.executable, "-c", PROGRAM, "train", str(asking)]
    # In a process of its own: a call that hangs for ever must not keep it alive.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as training:
        try:
            end = time.monotonic() + LONG
            while not (log.exists() and '"train"' in log.read_text()):
                assert time.monotonic() < end and training.poll() is None
                time.sleep(0.05)
            os.kill(server.pid, signal.SIGSTOP)
            text = " ".join(training.communicate(timeout=LONG)[0].split())
        finally:
            training.kill()
    assert training.returncode == 1
    assert "did not answer within 5 s" in text
    assert f"mend the retriever, then go on with --resume from {folder}" in text
    assert "Traceback" not in text

    before = log.read_bytes()
    words: list[list[str | Path]] = [
        ["train", asking, "--resume"],
        ["train", asking, "--set", "name=other"],
        ["index", asking],
        ["check", "--data", asking],
        ["serve", asking, "--port", "0"],
    ]
    for each in words:
        code, text = told(*each)
        assert code == 1
        assert "did not answer within 5 s while it was opened" in text
    assert log.read_bytes() == before

    os.kill(server.pid, signal.SIGCONT)
    assert told("train", asking, "--resume")[0] == 0
    assert [m["step"] for m in Run.open(folder).metrics() if "train" in m] == list(range(1, 13))

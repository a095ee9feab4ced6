"""The process of one run, on the leash of its study."""

import subprocess
import sys
from pathlib import Path

from sdsearch.terminal.waiting import alone


def test_a_worker_whose_study_ends_while_it_waits_says_that_nothing_is_lost(spec: Path) -> None:
    command = [sys.executable, "-m", "sdsearch.study.worker", str(spec)]
    with (
        alone(spec.with_suffix(".lock"), ""),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as worker,
    ):
        assert worker.stdout is not None
        assert "waiting for another process that runs" in worker.stdout.readline()
        said, _ = worker.communicate(timeout=60)  # closes its input
    assert worker.returncode == 130
    assert said.endswith("interrupted; the same study goes on from the last checkpoint\n")

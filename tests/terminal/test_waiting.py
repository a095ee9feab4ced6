"""One process at a time holds a lock; the others say that they wait, and go on when it is free."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdsearch.terminal.waiting import alone

HOLDER = """
import sys
from pathlib import Path
from sdsearch.terminal.waiting import alone
with alone(Path(sys.argv[1]), "waiting for the other"):
    print("in", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    first = holder(tmp_path / "lock")
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    second = holder(tmp_path / "lock")
    assert second.stderr is not None
    assert second.stderr.readline() == "waiting for the other\n"
    assert first.communicate("\n") == ("", "")
    assert second.communicate("\n") == ("in\n", "")


def test_a_killed_holder_lets_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = holder(tmp_path / "lock")
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    first.kill()
    first.communicate()
    with alone(tmp_path / "lock", "waiting"):
        assert capsys.readouterr().err == ""

"""One process at a time works in a run's folder: the second is told who does, and the first loses nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdsearch.errors import CheckpointError
from sdsearch.learning.train import train
from sdsearch.runs.folder import Run
from sdsearch.runs.lock import holder, occupied
from sdsearch.spec import load

HOLD = """
import sys
from pathlib import Path
from sdsearch.runs.lock import occupied
with occupied(Path(sys.argv[1])):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_and_leaving_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "name" / "0"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "inside\n"
        words = rf"{folder} is in use by process {other.pid} on .*, which began at"
        with pytest.raises(CheckpointError, match=words), occupied(folder):
            pytest.fail("two processes are in one folder")
        with occupied(folder.with_name("1")):
            pass
        other.kill()
        other.wait()
        with occupied(folder):
            assert f"process {os.getpid()} " in holder(folder.with_name(".0.lock"))


@pytest.mark.parametrize("written", ["", "[]", "{", '{"process": 1}'])
def test_a_holder_that_has_not_yet_said_who_it_is(tmp_path: Path, written: str) -> None:
    (tmp_path / "lock").write_text(written)
    assert holder(tmp_path / "lock") == "another process"


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = r"file/0 cannot be used: .*Now choose another place, as something else lies there$"
    with pytest.raises(CheckpointError, match=words), occupied(tmp_path / "file" / "0"):
        pytest.fail("nothing is there")


def test_a_second_run_in_the_same_folder_leaves_it_alone(spec: Path) -> None:
    """A sweep whose runs have one name: also `--fresh` does not move a run aside while it is written."""
    experiment = load(spec, ["train.steps=1"])
    folder = train(experiment).folder
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "inside\n"
        for words in ({"fresh": True}, {"resume": True}, {}):
            with pytest.raises(CheckpointError, match=f"in use by process {other.pid} .*--set name="):
                train(experiment, **words)
        other.kill()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_two_trainings_at_the_same_time_leave_one_whole_run(spec: Path) -> None:
    program = "import sys; from sdsearch.cli import main; sys.argv = ['sdsearch', 'train', *sys.argv[1:]]; main()"
    settings = ["train.learning_rate=0.001", "train.learning_rate=0.002"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(spec), "--set", setting],
            cwd=spec.parent,
            env={**os.environ, "PYTHONPATH": str(spec.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for setting in settings
    ]
    said = [process.communicate()[0] for process in started]
    codes = [process.returncode for process in started]
    assert codes.count(0) == 1, said
    assert "is in use by process" in said[codes.index(1)] or "holds a run" in said[codes.index(1)], said
    lines = Run.open(load(spec).folder).metrics()
    assert [m["step"] for m in lines if "train" in m] == list(range(1, load(spec).train.steps + 1))

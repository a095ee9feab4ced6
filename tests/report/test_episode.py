"""One episode on the terminal: every text in its place, by name and number."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.trajectory import write_groups
from sdsearch.errors import DataError
from sdsearch.report.episode import pick
from sdsearch.testing import example_groups


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "spec.yaml").write_text("name: a\nseed: 0\n")
    return tmp_path


def test_it_shows_what_was_written_and_how_it_was_read(run: Path) -> None:
    with pytest.raises(DataError, match="has kept no episodes yet"):
        pick(run)
    write_groups(run / "trajectories" / "step_1.jsonl", example_groups())
    write_groups(run / "trajectories" / "step_2.jsonl", example_groups()[2:3])
    done = CliRunner().invoke(app, ["episode", str(run), "--trajectories", "step_1", "--number", "3"])
    assert done.exit_code == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines == [
        "question q0: Where is place 0?",
        "accepted: New Paris | Paris",
        "--- prompt",
        "Question: Where is place 0?",
        "--- turn 1, read as invalid: what",
        "what",
        "--- observation",
        "--- turn 2, read as search: a",
        "Correct: b | c",
        "a",
        "Correct: b | c",
        "--- observation",
        "--- turn 3, read as answer: Paris France",
        "Paris France",
        "--- answered, reward 0.5",
    ]
    assert pick(run).question.id == "q2"
    with pytest.raises(DataError, match="got episode 9 of step_2, expected one of 1"):
        pick(run, number=9)

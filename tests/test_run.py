"""The folder of a run: its metrics can be cut back to a step, and it says on what it was made."""

import json
from pathlib import Path

from sdsearch.run import Run, machine
from sdsearch.spec import load


def test_rewinding_keeps_what_was_recorded_up_to_a_step(spec: Path) -> None:
    run = Run.open(load(spec))
    for line in (
        {"step": 0, "evaluate": {}},
        {"step": 1, "train": {}},
        {"step": 1, "evaluate": {}},
        {"step": 2, "train": {}},
    ):
        run.record(line)
    run.rewind(1)
    assert [(m["step"], "train" in m) for m in run.metrics()] == [(0, False), (1, True), (1, False)]


def test_the_machine_is_written_down(spec: Path) -> None:
    run = Run.open(load(spec))
    written = json.loads((run.folder / "environment.json").read_text())
    assert written == machine()
    assert {"torch", "transformers", "chromadb", "gymnasium"} <= set(written["packages"])


def test_old_runs_are_moved_aside_one_by_one(spec: Path) -> None:
    experiment = load(spec)
    for _ in range(3):
        Run.open(experiment, fresh=True)
    assert sorted(p.name for p in (experiment.out / "small").iterdir()) == ["0", "0.old1", "0.old2"]

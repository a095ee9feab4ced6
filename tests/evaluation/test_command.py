"""What `sdsearch eval` is given: a spec, a run, a checkpoint of it, or an evaluation to go on with."""

from pathlib import Path

import pytest

from sdsearch.errors import CheckpointError, DataError, SpecError
from sdsearch.evaluation.command import evaluated
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.learning.train import train
from sdsearch.runs.folder import Run
from sdsearch.spec import load


def test_a_run_is_judged_with_the_weights_that_it_has_learned(spec: Path) -> None:
    run = train(load(spec, ["train.steps=2"]))
    experiment, folder, step = evaluated(run.folder)
    assert (folder, step) == (run.folder / "eval" / "step_2", 2)
    done = evaluate(experiment, folder=folder, step=step)
    trained = Run.open(run.folder).groups("evaluate_2")
    assert [t.segments for g in done.groups for t in g.trajectories] == [
        t.segments for g in trained for t in g.trajectories
    ]
    assert Run.open(folder).names == ["evaluate_2"]
    assert evaluated(run.checkpoints / "step_1").folder.name == "step_1"
    assert evaluated(run.folder, number=1).experiment.model.name == str(run.checkpoints / "step_1")
    assert evaluated(run.folder, ["model.gguf_file=first.gguf"]).experiment.model.gguf_file is None, (
        "nor is a checkpoint"
    )
    again = evaluated(folder, ["evaluate.questions=1"])
    assert (again.folder, again.step, again.experiment.evaluate.questions) == (folder, 2, 1)
    with pytest.raises(CheckpointError, match="no checkpoint of step 9"):
        evaluated(run.folder, number=9)
    (run.checkpoints / "step_2" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config.json is damaged.*step_1 is whole"):
        evaluated(run.folder)


def test_a_spec_is_judged_as_it_is(spec: Path, tmp_path: Path) -> None:
    experiment, folder, step = evaluated(spec, ["seed=3"])
    assert (folder, step) == (experiment.out / "small" / "eval" / "3", 0)
    with pytest.raises(SpecError, match="is a spec, expected the folder of a run"):
        evaluated(spec, number=1)
    with pytest.raises(DataError, match="holds no run"):
        evaluated(tmp_path)

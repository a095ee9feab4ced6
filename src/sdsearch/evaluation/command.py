"""What `sdsearch eval` is given: a spec, a run, one of its checkpoints, or an evaluation to go on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdsearch.errors import CheckpointError, ModelError, SpecError
from sdsearch.evaluation.kept import NAME
from sdsearch.runs import checkpoint
from sdsearch.runs.folder import Run
from sdsearch.spec import Experiment, load


class Evaluated(NamedTuple):
    """What is evaluated, where its episodes are kept by default, and after how many steps of training it is."""

    experiment: Experiment
    folder: Path
    step: int = 0


def evaluated(place: Path, overrides: Sequence[str] = (), number: int | None = None) -> Evaluated:
    """Return what a path stands for. Raises `SpecError`, `DataError` for no run, `CheckpointError` for no checkpoint.

    A run is its newest checkpoint, or that of the step `number`.
    """
    if not place.is_dir():
        if number is not None:
            raise SpecError(f"--checkpoint {number}: {place} is a spec, expected the folder of a run")
        experiment = load(place, overrides)
        return Evaluated(experiment, experiment.out / experiment.name / "eval" / str(experiment.seed))
    if (place / NAME).is_file():
        step = json.loads((place / NAME).read_text(encoding="utf-8"))["step"]
        return Evaluated(load(place / "spec.yaml", overrides), place, step)
    if (place / "about.json").is_file():
        run, number = Run.open(place.parents[1]), int(place.name.removeprefix("step_"))
    else:
        run = Run.open(place)
    path = run.checkpoint(number)
    if wrong := checkpoint.fault(path):
        raise CheckpointError(f"{wrong}. {checkpoint.remedy(path)}")
    weights = ["model.gguf_file=null", f"model.name={json.dumps(str(path.resolve()))}"]
    experiment = load(run.spec, [*overrides, *weights])
    if not experiment.agent.trainable:
        raise ModelError(f"{place}: the agent `{experiment.agent.type}` has no weights: evaluate its spec")
    step = int(path.name.removeprefix("step_"))
    return Evaluated(experiment, run.folder / "eval" / path.name, step)

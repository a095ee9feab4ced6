"""A run on disk, to read: metrics, trajectories, what was computed for each token, checkpoints. Needs no torch.

Runs outlive the code that made them: only who asks for `experiment` needs a spec that today's code can load.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache, cached_property
from math import nan
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from sdsearch.config.words import quoted
from sdsearch.core.trajectory import Group, read_groups
from sdsearch.errors import CheckpointError, DataError
from sdsearch.runs import checkpoint
from sdsearch.runs.old_runs import ahead
from sdsearch.runs.step_table import StepTable
from sdsearch.runs.token_columns import HintLine, TokenColumns, read_columns, read_hints
from sdsearch.spec import Experiment, load


class StoredRun:
    """`<out>/<name>/<seed>/` as a run left it, or leaves it while it goes on. `Run.open` makes one."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which may still be empty: then nothing is stored in it."""
        self.folder = folder

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {len(self.steps)} steps)"

    @property
    def spec(self) -> Path:
        """Where the spec is, with all its defaults."""
        return self.folder / "spec.yaml"

    @cached_property
    def experiment(self) -> Experiment:
        """What the spec says. Raises `SpecError` when today's code cannot load it."""
        return load(self.spec)

    @property
    def log(self) -> Path:
        """Where the figures are, a line for each step and evaluation."""
        return self.folder / checkpoint.LOG

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    def checkpoint(self, step: int | None = None) -> Path:
        """Return the checkpoint of a step, by default the newest. Raises `CheckpointError` when it is not there."""
        there = checkpoint.saved(self.checkpoints)
        names = [p.name.removeprefix("step_") for p in there]
        if not there or (step is not None and str(step) not in names):
            asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise CheckpointError(
                f"{self.checkpoints}: got {asked}, expected one of {', '.join(names) or '(there is none)'}"
            )
        return there[-1] if step is None else there[names.index(str(step))]

    def best(self) -> Path | None:
        """Return the checkpoint with the best training reward; None where none is known. See `checkpoint.best`."""
        return checkpoint.best(self.checkpoints, self.rewards())

    def rewards(self) -> dict[int, float]:
        """Return the mean reward of each training step, NaN where outages left none."""
        return {m["step"]: m["train"]["reward"] for m in self.metrics() if "train" in m and "reward" in m["train"]}

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, without a last one that is being written or never was to its end.

        Raises `CheckpointError` when another line is damaged.
        """
        path = self.log
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [self._line(f"{path}:{i}", line) for i, line in enumerate(lines, 1) if line.endswith(b"\n")]

    def _line(self, place: str, line: bytes) -> dict[str, Any]:
        values: Any = None
        try:
            values = _numbers(json.loads(line))
            _line().validate_python(values)
        except (ValueError, RecursionError) as error:
            got = quoted(line.decode(errors="replace").rstrip("\n"))
            why = ""
            if isinstance(error, ValidationError) and isinstance(values, dict):
                first = error.errors(include_url=False, include_input=False)[0]
                why = f" ({'.'.join(map(str, first['loc']))}: {first['msg']})"
            raise CheckpointError(
                f"{place}: got {got}, expected a JSON object with `step`, and figures{why}. {ahead(self.folder)}"
            ) from error
        return dict(values)

    @property
    def names(self) -> list[str]:
        """The names of the stored trajectories, such as "step_12" or "evaluate_20", oldest first."""
        return stored(self.folder / "trajectories", "jsonl")

    @property
    def steps(self) -> list[int]:
        """The training steps whose trajectories are stored, counted from 1."""
        return [number for kind, number in map(kind_and_step, self.names) if kind == "step"]

    @property
    def fingerprint(self) -> str:
        """The sha256 over the trajectories of all training steps."""
        digest = hashlib.sha256()
        for step in self.steps:
            digest.update(self._path("trajectories", step, "jsonl").read_bytes())
        return digest.hexdigest()

    def groups(self, step: int | str) -> list[Group]:
        """Return the trajectories of a training step, or those of a name such as "evaluate_20".

        Raises `DataError` when there are none, or when they are damaged.
        """
        return list(read_groups(self._path("trajectories", step, "jsonl")))

    def columns(self, step: int) -> TokenColumns:
        """Return what was computed for each sampled token of a step, and the hints.

        Raises `DataError` when it was not kept (see `train.columns_every`) or is damaged.
        """
        columns = read_columns(self._path("columns", step, "safetensors"))
        hints = self.hints(step) if (self.folder / "hints" / f"step_{step}.jsonl").is_file() else []
        return replace(columns, hints=tuple(hints))

    def hints(self, step: int) -> list[HintLine]:
        """Return what the terms' teachers saw in a step. Raises `DataError` when it was not kept or is damaged."""
        return list(read_hints(self._path("hints", step, "jsonl")))

    def table(self, step: int) -> StepTable:
        """Return the sampled tokens of a step with all that is stored of them; see `StepTable`.

        Raises `DataError` when the step is not stored or a file of it is damaged.
        """
        groups, path = self.groups(step), self.folder / "columns" / f"step_{step}.safetensors"
        return StepTable.build(groups, self.columns(step) if path.is_file() else None, path)

    def _path(self, kind: str, step: int | str, ending: str) -> Path:
        path = self.folder / kind / f"{step if isinstance(step, str) else f'step_{step}'}.{ending}"
        if not path.is_file():
            there = ", ".join(stored(path.parent, ending)) or "(none is kept)"
            raise DataError(f"{path} is not there, expected one of {there}")
        return path


class Warned(TypedDict):
    """What a line says of a limit that was crossed; see `sdsearch.monitoring.monitor.Notice`."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    limit: str
    figure: str
    value: float
    text: str


class Line(TypedDict, total=False):
    """What a line of metrics.jsonl has to be, where it is that."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    step: Required[Annotated[int, Field(ge=0)]]
    phase: int
    train: dict[str, float]
    evaluate: dict[str, float]
    retrieval: dict[str, float]
    seconds: dict[str, float]
    spent: dict[str, float]
    labels: dict[str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]]
    warnings: list[Warned]


@cache
def _line() -> TypeAdapter[Line]:
    return TypeAdapter(Line)


def _numbers(value: Any) -> Any:
    """Return what was written with NaN for null: JSON has no form for a number that is none."""
    match value:
        case dict():
            return {key: _numbers(inner) for key, inner in value.items()}
        case list():
            return [_numbers(inner) for inner in value]
    return nan if value is None else value


def stored(folder: Path, ending: str) -> list[str]:
    """Return the names under which something of a step is stored in a folder, oldest first.

    The evaluation after a step comes behind the step.
    """
    names = [p.stem for p in folder.glob(f"[!.]*.{ending}") if kind_and_step(p.stem)[0]]
    return sorted(names, key=lambda name: (kind_and_step(name)[1], kind_and_step(name)[0] == "evaluate"))


def kind_and_step(name: str) -> tuple[str, int]:
    """Return what is stored under a name, and of which step: "step_12" is ("step", 12); ("", 0) for another form."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if number.isdecimal() else ("", 0)

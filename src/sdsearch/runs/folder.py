"""The folder that a run leaves: spec, machine, metrics, trajectories, columns and hints, checkpoints, pictures.

It can be cut back to a step: what a killed run wrote after its last checkpoint, and the line that it was writing, is
dropped before the run goes on.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import isfinite
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from sdsearch.config.load import read
from sdsearch.core.trajectory import Group, write_groups
from sdsearch.core.usage import Usage
from sdsearch.errors import CheckpointError, DataError, advice
from sdsearch.runs import checkpoint, provenance, token_columns
from sdsearch.runs.old_runs import ahead, free, move
from sdsearch.runs.stored_run import StoredRun, kind_and_step
from sdsearch.runs.token_columns import TokenColumns, write_columns, write_hints
from sdsearch.spec import Experiment

if TYPE_CHECKING:
    from sdsearch.policy.policy import Policy
    from sdsearch.runs.random_states import RandomStates
    from sdsearch.runs.state import Stateful


OF_STEPS = ("trajectories", "columns", "hints")
"""Folders that hold a file for each step."""


class Run(StoredRun):
    """The run of one experiment, to write."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        """Use `Run.begin`."""
        super().__init__(folder)
        self.experiment = experiment

    def figures(self, step: int) -> str:
        """Return the lines of metrics.jsonl up to a step."""
        return "".join(as_line(m) for m in self.metrics() if m["step"] <= step)

    @staticmethod
    def open(folder: Path | str) -> StoredRun:
        """Return the run in a folder, to read. Raises `DataError` when the folder holds none."""
        run = StoredRun(Path(folder))
        if not run.spec.is_file():
            raise DataError(
                f"{folder} holds no run: expected spec.yaml in it; name a folder such as runs/<name>/<seed>"
            )
        return run

    @classmethod
    def begin(cls, experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
        """Make the folder, or take up the one that is there.

        Raises `CheckpointError` when there is a run already and neither `resume` nor `fresh` says what to do with it,
        when `resume` would go on with another spec (but for more steps), or when the folder cannot be written. `fresh`
        moves the old run aside. A run that was killed before it had written its spec begins anew.
        """
        run = cls(experiment.folder, experiment)
        spec = run.spec
        with run.writing():
            begun = spec.exists()
            if begun and resume:
                old = read(spec, []).plain()
                run.check(old, spec)
                if longer(old, experiment.model_dump(mode="json")):
                    replace(spec, lambda p: p.write_text(experiment.dump()))
                return run
            if begun and not fresh:
                if changes := spec_differences(read(spec, []).plain(), experiment.model_dump(mode="json")):
                    raise CheckpointError(
                        f"{run.folder} holds the run of another spec ({'; '.join(changes[:3])}): give this one another "
                        "name (its `name`, or its file's), or --fresh moves the other aside"
                    )
                raise CheckpointError(
                    f"{run.folder} holds a run already: --resume goes on with it, --fresh moves it aside"
                )
            if begun:
                run.folder.rename(free(run.folder))
            run.folder.mkdir(parents=True, exist_ok=True)
            run.sign()
            replace(spec, lambda p: p.write_text(experiment.dump()))
        return run

    @staticmethod
    def at_home(spec: Path, experiment: Experiment) -> Experiment:
        """Return the experiment of a run's own spec with its folder where the spec lies: the run may have been moved.

        Any other spec, and one that is changed into another run's, comes back as it is. Raises `CheckpointError` when
        the run's folder is no longer called after it.
        """
        folder, wanted = spec.resolve().parent, (experiment.name, str(experiment.seed))
        if (
            spec.name != "spec.yaml"
            or not (folder / provenance.NAME).is_file()
            or folder == experiment.folder.resolve()
        ):
            return experiment
        told = read(spec, []).plain()
        if (told.get("name"), str(told.get("seed"))) != wanted:
            return experiment
        if (folder.parent.name, folder.name) != wanted:
            home = folder.parent.joinpath(*wanted)
            command = f"mkdir -p {quote(str(home.parent))} && mv {quote(str(folder))} {quote(str(home))}"
            raise CheckpointError(
                f"{folder} holds the run of {experiment.name}, seed {experiment.seed}, and is expected to be called "
                f"so. Give it its name back:\n  {command}"
            )
        return experiment.model_copy(update={"out": folder.parents[1]})

    @staticmethod
    def settled(experiment: Experiment) -> Experiment:
        """Return a spec with what it leaves to the machine as its run, if there is one, had it where it began."""
        spec = experiment.folder / "spec.yaml"
        then = read(spec, []).plain().get("train", {}).get("tokens_per_batch") if spec.is_file() else None
        return experiment.settled(then) if isinstance(then, int) else experiment

    def check(self, spec: Any, where: Path) -> None:
        """Raise `CheckpointError`, naming every key that differs, when `spec`, found at `where`, is not the run's.

        More steps than it had are no difference: nothing that a step does depends on how many there will be.
        """
        mine = self.experiment.model_dump(mode="json")
        changes = spec_differences(spec, mine)
        if changes and not longer(spec, mine):
            raise CheckpointError(
                f"{where} is of another spec than this one: {'; '.join(changes)}. Resume with the spec that the run "
                "was started with, or begin anew with --fresh, which moves it aside"
            )

    def sign(self) -> None:
        """Write down by what the run is made."""
        made = json.dumps(provenance.origin(self.experiment), indent=1)
        replace(self.folder / provenance.NAME, lambda path: path.write_text(made))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what a full or forbidden disk raises into `CheckpointError`."""
        try:
            yield
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{self.folder} is no longer what it was: {error}. It was moved, or something in it removed, while the "
                "run worked there: put it back, then --resume"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be used: {error}. Now {advice(error)}, then --resume"
            ) from error

    def record(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; what is no number is null there, which `metrics` reads as NaN."""
        with self.writing(), self.log.open("a") as file:
            file.write(as_line(metrics))
            file.flush()
            os.fsync(file.fileno())

    def keep(self, name: str, groups: Sequence[Group], columns: TokenColumns | None = None) -> None:
        """Write trajectories under a name such as `step_12`, and what was computed for their tokens.

        Of columns and hints that are larger than `token_columns.LIMIT` only those of the first groups are written.
        """
        with self.writing():
            replace(self._place("trajectories", f"{name}.jsonl"), lambda path: write_groups(path, groups))
            if columns is not None:
                some = columns.fitting([len(group.kept) for group in groups], token_columns.LIMIT)
                replace(self._place("columns", f"{name}.safetensors"), lambda path: write_columns(path, some))
                replace(self._place("hints", f"{name}.jsonl"), lambda path: write_hints(path, some.hints))

    def _place(self, kind: str, name: str) -> Path:
        (self.folder / kind).mkdir(exist_ok=True)
        return self.folder / kind / name

    def rewind(self, step: int) -> None:
        """Drop what was recorded after `step` steps: a run that goes on from there records it again.

        -1 drops all: the run begins anew. So it does after 0 steps, but for its first evaluation. Then this machine and
        the code that is there now are what made it.
        """
        kept = self.figures(step)
        with self.writing():
            for path in (p for kind in OF_STEPS for p in (self.folder / kind).glob("*")):
                kind, number = kind_and_step(path.stem)
                if path.name.startswith(".") or (kind and number > step):
                    path.unlink()
            replace(self.log, lambda path: path.write_text(kept))
            if step <= 0:
                self.sign()

    def restore(
        self,
        path: Path,
        policy: Policy,
        holders: Mapping[str, Stateful],
        random_states: RandomStates,
        process: int,
        processes: int,
    ) -> dict[str, Any]:
        """Bring everything to where it was when a checkpoint was written, and return what it says about itself.

        Raises `CheckpointError` when it is damaged, of another spec, or made by another number of processes.
        """
        about, state = checkpoint.load(path)
        self.check(about["spec"], path)
        if len(state["random_states"]) != processes:
            raise CheckpointError(
                f"{path} was made by {len(state['random_states'])} processes, got {processes}: go on with as many "
                f"as before, or move the run aside and begin it anew:\n  {move(self.folder)}"
            )
        checkpoint.restore(path, policy)
        for name, holder in holders.items():
            holder.load_state_dict(state[name])
        random_states.load_state_dict(state["random_states"][process])
        return about

    def spent(self, path: Path, about: Mapping[str, Any]) -> Usage:
        """Return what had been spent when the checkpoint at `path` was written, which says this `about` itself.

        Raises `CheckpointError` unless metrics.jsonl begins with what it was then, and holds no training step up to
        there a second time: where lines are lost, doubled or altered, no figure of the run could be trusted.
        """
        copy, last = path / checkpoint.LOG, about["step"]
        remedy = ahead(self.folder)
        if copy.is_file():
            command = f"cp {quote(str(copy))} {quote(str(self.log))}"
            remedy = f"Put it right, or take the checkpoint's copy of it, which lacks nothing:\n  {command}"
        try:
            lines = [m for m in self.metrics() if m["step"] <= last]
        except CheckpointError as error:
            raise CheckpointError(f"{str(error).split('. Put it right')[0]}. {remedy}") from error
        trained = [m for m in lines if "train" in m]
        steps = [m["step"] for m in trained]
        lost = sorted(set(range(1, last + 1)) - set(steps))
        counts = Counter((m["step"], "train" in m) for m in lines)
        doubled = sorted({step for (step, _), count in counts.items() if count > 1})
        faults = {"missing": lost, "there more than once": doubled}
        if what := [f"{name}: {', '.join(map(str, which))}" for name, which in faults.items() if which] or (
            ["they are out of order"] if steps != sorted(steps) else []
        ):
            raise CheckpointError(
                f"{self.log} does not hold each of the {last} training steps that the checkpoint stands on, and each "
                f"evaluation, once ({'; '.join(what)}). {remedy}"
            )
        if copy.is_file() and (number := differing(copy.read_text(), self.figures(last))):
            raise CheckpointError(
                f"{self.log} is not what it was when {path} was written, from line {number} on. {remedy}"
            )
        return Usage(**(about.get("spent") or (trained[-1]["spent"] if trained else {})))

    def newest(self) -> Path | None:
        """Return the newest checkpoint; None when the run has ended before it wrote one.

        Raises `CheckpointError` when it must have written one: its checkpoints are missing.
        """
        if paths := checkpoint.saved(self.checkpoints):
            return paths[-1]
        every, steps = self.experiment.train.checkpoint_every, self.experiment.steps
        first = min(every or steps, steps)
        if (done := max((m["step"] for m in self.metrics()), default=0)) > first:
            raise CheckpointError(
                f"{self.checkpoints} holds no checkpoint, and the run has recorded {done} steps. {ahead(self.folder)}"
            )
        return None


def as_line(metrics: Mapping[str, Any]) -> str:
    """Return a line of metrics.jsonl: strict JSON, with null for what is no finite number."""
    return json.dumps(_finite(metrics), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if not isfinite(value):
            return None
    return value


def differing(then: str, now: str) -> int:
    """Return the number of the first line in which a log does not go on from what it was; 0: it does."""
    old, new = then.splitlines(), now.splitlines()
    return next((i for i, line in enumerate(old, 1) if new[i - 1 : i] != [line]), 0)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then rename it, so that the old content or the new one is there."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    checkpoint.sync(partial)
    partial.replace(path)


def spec_differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Name what differs between two specs: "train.steps was 4 and is 8". Where runs are kept makes no difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [k for k in dict.fromkeys((*old, *new)) if (path, k) != ("", "out")]
        pairs = [(f"{path}.{k}".lstrip("."), old.get(k), new.get(k)) for k in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{path}.{i}", *both) for i, both in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [f"{path} was {json.dumps(old)} and is {json.dumps(new)}"]
    return [line for where, one, two in pairs for line in spec_differences(one, two, where)]


def longer(old: Any, new: Any) -> bool:
    """Say whether a spec is another one with more steps, and nothing else; of phases only the last may be longer."""
    (was, before), (now, after) = final(old), final(new)
    return after > before and not spec_differences(was, now)


def final(spec: Any) -> tuple[Any, int]:
    """Return a spec without the steps of its last phase, and these."""
    rest = deepcopy(spec)
    last = rest.get("train", {})
    last = last["phases"][-1] if last.get("phases") else last
    return rest, int(last.pop("steps", 0))

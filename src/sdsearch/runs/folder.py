"""The folder that a run leaves: spec, machine, metrics, trajectories, checkpoints, pictures.

It can be cut back to a step: what a killed run wrote after its last checkpoint, and the line that it was writing, is
dropped before the run goes on.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdsearch.config.load import read
from sdsearch.config.words import quoted
from sdsearch.core.trajectory import Group, write_groups
from sdsearch.core.usage import Usage
from sdsearch.errors import CheckpointError
from sdsearch.policy.policy import Policy
from sdsearch.runs import checkpoint
from sdsearch.runs.old_runs import ahead, free, move
from sdsearch.runs.provenance import NAME, origin
from sdsearch.runs.random_states import RandomStates
from sdsearch.runs.state import Stateful
from sdsearch.spec import Experiment


class Run:
    """`<out>/<name>/<seed>/` of one experiment."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        """Use `Run.begin`."""
        self.folder, self.experiment = folder, experiment

    @classmethod
    def begin(cls, experiment: Experiment, resume: bool = False, fresh: bool = False) -> Run:
        """Make the folder, or take up the one that is there.

        Raises `CheckpointError` when there is a run already and neither `resume` nor `fresh` says what to do with it,
        when `resume` would go on with another spec (but for more steps), or when the folder cannot be written. `fresh`
        moves the old run aside. A run that was killed before it had written its spec begins anew.
        """
        run = cls(experiment.folder, experiment)
        spec = run.folder / "spec.yaml"
        with run.writing():
            begun = spec.exists()
            if begun and resume:
                old = read(spec, []).plain()
                run.check(old, spec)
                if longer(old, experiment.model_dump(mode="json")):
                    replace(spec, lambda p: p.write_text(experiment.dump()))
                return run
            if begun and not fresh:
                raise CheckpointError(
                    f"{run.folder} holds a run already: --resume goes on with it, --fresh moves it aside"
                )
            if begun:
                run.folder.rename(free(run.folder))
            (run.folder / "trajectories").mkdir(parents=True, exist_ok=True)
            run.sign()
            replace(spec, lambda p: p.write_text(experiment.dump()))
        return run

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.folder / "checkpoints"

    def check(self, spec: Any, where: Path) -> None:
        """Raise `CheckpointError`, naming every key that differs, when `spec`, found at `where`, is not the run's.

        More steps than it had are no difference: nothing that a step does depends on how many there will be.
        """
        mine = self.experiment.model_dump(mode="json")
        changes = spec_differences(spec, mine)
        if len(changes) == 1 and longer(spec, mine):
            return
        if changes:
            raise CheckpointError(
                f"{where} is of another spec than this one: {'; '.join(changes)}. Resume with the spec that the run "
                "was started with, or begin anew with --fresh, which moves it aside"
            )

    def sign(self) -> None:
        """Write down by what the run is made."""
        made = json.dumps(origin(self.experiment), indent=1)
        replace(self.folder / NAME, lambda path: path.write_text(made))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what a full or forbidden disk raises into `CheckpointError`."""
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be used: {error}. Make room or give permission to use it, then --resume"
            ) from error

    def record(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.writing(), (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return all that was recorded."""
        return recorded(self.folder)

    def keep(self, name: str, groups: Sequence[Group]) -> None:
        """Write trajectories under a name such as `step_12`."""
        with self.writing():
            replace(self.folder / "trajectories" / f"{name}.jsonl", lambda path: write_groups(path, groups))

    def rewind(self, step: int) -> None:
        """Drop what was recorded after `step` steps: a run that goes on from there records it again.

        -1 drops all: the run begins anew, on this machine and with the code that is there now.
        """
        kept = "".join(json.dumps(m) + "\n" for m in self.metrics() if m["step"] <= step)
        with self.writing():
            for path in (self.folder / "trajectories").iterdir():
                name, _, number = path.stem.rpartition("_")
                if path.name.startswith(".") or (name and number.isdigit() and int(number) > step):
                    path.unlink()
            replace(self.folder / "metrics.jsonl", lambda path: path.write_text(kept))
            if step < 0:
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
        if len(state["dice"]) != processes:
            raise CheckpointError(
                f"{path} was made by {len(state['dice'])} processes, got {processes}: go on with as many as before, or "
                f"move the run aside and begin it anew:\n  {move(self.folder)}"
            )
        checkpoint.restore(path, policy)
        for name, holder in holders.items():
            holder.load_state_dict(state[name])
        random_states.load_state_dict(state["dice"][process])
        return about

    def spent(self, about: Mapping[str, Any]) -> Usage:
        """Return what had been spent when the checkpoint was written that says this `about` itself.

        Raises `CheckpointError` unless metrics.jsonl holds each training step before it once, in order: where lines are
        lost or doubled, no figure of the run could be trusted.
        """
        lines = [m for m in self.metrics() if "train" in m and m["step"] <= about["step"]]
        steps = [m["step"] for m in lines]
        if steps != list(range(1, about["step"] + 1)):
            lost = sorted(set(range(1, about["step"] + 1)) - set(steps))
            doubled = sorted(step for step, count in Counter(steps).items() if count > 1)
            faults = {"missing": lost, "there more than once": doubled}
            what = [f"{name}: {', '.join(map(str, which))}" for name, which in faults.items() if which]
            raise CheckpointError(
                f"{self.folder / 'metrics.jsonl'} does not hold each of the {about['step']} training steps that "
                f"the checkpoint stands on once ({'; '.join(what) or 'they are out of order'}). {ahead(self.folder)}"
            )
        return Usage(**(about.get("spent") or (lines[-1]["spent"] if lines else {})))

    def newest(self) -> Path | None:
        """Return the newest checkpoint; None when the run has ended before it wrote one.

        Raises `CheckpointError` when it must have written one: its checkpoints are missing.
        """
        if paths := checkpoint.saved(self.checkpoints):
            return paths[-1]
        settings = self.experiment.train
        first = min(settings.checkpoint_every or settings.steps, settings.steps)
        if (done := max((m["step"] for m in self.metrics()), default=0)) > first:
            raise CheckpointError(
                f"{self.checkpoints} holds no checkpoint, and the run has recorded {done} steps. {ahead(self.folder)}"
            )
        return None


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return a run's metrics, without a last line that is being written or never was to its end.

    Raises `CheckpointError` when another line is damaged.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [entry(folder, f"{path}:{i}", line) for i, line in enumerate(lines, 1) if line.endswith(b"\n")]


def entry(folder: Path, place: str, line: bytes) -> dict[str, Any]:
    """Return what a line of metrics says. Raises `CheckpointError` when it is none."""
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or "step" not in values:
        got = quoted(line.decode(errors="replace").rstrip("\n"))
        raise CheckpointError(f"{place}: got {got}, expected a JSON object with `step`. {ahead(folder)}")
    return values


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
    """Say whether a spec has more steps than another."""
    return bool(new["train"]["steps"] > old.get("train", {}).get("steps", 0))

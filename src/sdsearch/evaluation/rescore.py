"""Another reward over episodes that were kept: what it would have paid, without playing anything."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sdsearch.config.component import Settings
from sdsearch.config.document import Node, Place
from sdsearch.config.load import build, read
from sdsearch.config.yaml import parse, write
from sdsearch.contracts.environment import Reward
from sdsearch.core.trajectory import Group, Trajectory, write_groups
from sdsearch.errors import DataError
from sdsearch.evaluation.compare import Comparison, paired, say
from sdsearch.evaluation.figures import scores
from sdsearch.evaluation.kept import NAME, episodes
from sdsearch.evaluation.table import show
from sdsearch.report.page import page
from sdsearch.runs import provenance
from sdsearch.runs.stored_run import kind_and_step


class Chosen(Settings):
    """What the command line names."""

    reward: Reward
    """The reward."""


class Rescored(NamedTuple):
    """What another reward would have paid."""

    reward: str
    folder: Path
    """Where the episodes are with it."""
    groups: list[Group]
    comparison: Comparison
    """With what was paid."""

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        changes = {name: each["reward"].record() for name, each in self.comparison.sets.items()}
        about = {"reward": self.reward, "folder": str(self.folder), "questions": len(self.groups)}
        return {**about, **scores(self.groups).record(), "changes": changes}

    def show(self, console: Console) -> None:
        """Print how the agent did by it, and how that differs from what was paid."""
        show(f"by {self.reward}", scores(self.groups), console)
        for name, each in self.comparison.sets.items():
            one = each["reward"]
            value, low, high = one.estimate
            between = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
            counts = f"more on {one.wins} questions, less on {one.losses}, the same on {one.ties}"
            say(console, f"{name}: reward {one.first:.3f} -> {one.second:.3f}, {value:+.3f}{between}; {counts}")
        say(console, f"everything is in {self.folder}")


def rescore(folder: Path, reward: str, name: str | None = None) -> Rescored:
    """Score the episodes of an evaluation with a reward, `f1` or `{type: f1}`, and write them beside it.

    They go to `<folder>/rescored/<reward>/`, which is a run to report and compare; what is there stays (`<reward>_2`).
    Raises `SpecError` for an unknown reward, `DataError` without episodes, or when none of them can be scored.
    """
    chosen = named(reward)
    name, groups = episodes(folder, name)
    if not any(group.question.answers and group.kept for group in groups):
        raise DataError(
            f"{folder}: got no episode in {name} that has come to its end and whose question has accepted answers, "
            "expected some to score"
        )
    scored = [replace(g, trajectories=tuple(paid(t, chosen) for t in g.trajectories)) for g in groups]
    spec = read(folder / "spec.yaml", []).plain()
    if isinstance(spec.get("environment"), dict):
        spec["environment"]["reward"] = chosen.model_dump(mode="json")
    target, result = free(folder / "rescored", re.sub(r"[^\w.-]", "_", chosen.type)), scores(scored)
    about: dict[str, Any] = {"step": kind_and_step(name)[1]}
    if (folder / NAME).is_file():
        about |= json.loads((folder / NAME).read_text(encoding="utf-8"))
    figures = {key: value for key, value in result.values.items() if value == value}
    (target / "trajectories").mkdir(parents=True)
    write_groups(target / "trajectories" / f"{name}.jsonl", scored)
    (target / "metrics.jsonl").write_text(json.dumps({"step": about["step"], "evaluate": figures}) + "\n")
    (target / NAME).write_text(json.dumps({**about, "asked": len(scored), **result.record()}, indent=1))
    if (folder / provenance.NAME).is_file():
        shutil.copy(folder / provenance.NAME, target / provenance.NAME)
    (target / "spec.yaml").write_text(write(spec))
    page(target)
    return Rescored(chosen.type, target, scored, paired(groups, scored, (str(folder), str(target))))


def named(reward: str) -> Reward:
    """Return the reward that is meant by a name, or by settings in YAML. Raises `SpecError`."""
    problems: list[str] = []
    node = parse(reward, f"--reward {reward}", problems, inline=True)
    root = Node({"reward": node, "name": Node("reward", node.place)}, Place("--reward"))
    return build(root, Chosen, problems).reward


def paid(trajectory: Trajectory, reward: Reward) -> Trajectory:
    """Return an episode with the reward that its answer earns; one that an outage ended stays as it is."""
    if trajectory.lost:
        return trajectory
    return replace(trajectory, reward=float(reward.score(trajectory.answer, trajectory.question.answers)))


def free(folder: Path, name: str) -> Path:
    """Return the first of `name`, `name_2`, `name_3`, ... that is not there."""
    return next(path for i in count(1) if not (path := folder / (name if i == 1 else f"{name}_{i}")).exists())

"""The folder of an evaluation: every episode as soon as it is played, so that only what is missing is played again.

It is a run like any other, to report, compare and score anew: spec.yaml, environment.json, metrics.jsonl,
trajectories/evaluate_<step>.jsonl, report.html. evaluation.json says what was evaluated and, when it is over, how well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from sdsearch.config.load import read
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, read_groups, write_groups
from sdsearch.errors import CheckpointError, DataError, advice
from sdsearch.evaluation.figures import Scores
from sdsearch.report.page import EVALUATION, page
from sdsearch.runs import provenance
from sdsearch.runs.checkpoint import digest
from sdsearch.runs.folder import replace, spec_differences
from sdsearch.runs.old_runs import free
from sdsearch.runs.stored_run import StoredRun
from sdsearch.spec import Experiment

NAME = EVALUATION
DECIDES = ("seed", "environment", "model", "sampling", "agent")
"""Sections of a spec that an episode depends on, beside its question and whether it is greedy."""
SMALL = 1 << 20
"""Bytes up to which a file of a model is read to tell whether it is the same; of a larger one size and time will do."""


class Kept(StoredRun):
    """An evaluation on disk, to write."""

    def __init__(self, folder: Path, evaluated: Experiment, step: int = 0) -> None:
        """Take its folder, what is evaluated, and after how many steps of training that is."""
        super().__init__(folder)
        self.evaluated, self.step = evaluated, step
        self.name = f"evaluate_{step}"
        self.path = folder / "trajectories" / f"{self.name}.jsonl"
        self.about: dict[str, Any] = {}

    def begin(self, fresh: bool = False) -> list[Group]:
        """Make the folder, or take up what is there: return the groups that were played already.

        `fresh` moves an old evaluation aside. Raises `CheckpointError` when the folder holds something else, or an
        evaluation of something else.
        """
        with self.writing():
            if self.spec.exists() and fresh:
                self.folder.rename(free(self.folder))
            about: dict[str, Any] = {"step": self.step, "weights": stamp(self.evaluated.model.name)}
            if self.spec.exists():
                about = self.same(about)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            origin = json.dumps(provenance.origin(self.evaluated), indent=1)
            replace(self.folder / provenance.NAME, lambda path: path.write_text(origin))
            self.tell(about)
            # Last: a folder without it holds nothing yet.
            replace(self.spec, lambda path: path.write_text(self.evaluated.dump()))
            mend(self.path)
        return list(read_groups(self.path)) if self.path.exists() else []

    def same(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return what is known of the evaluation that is there; raise `CheckpointError` unless it is the same one."""
        path = self.folder / NAME
        old = read(self.spec, []).plain()
        if not path.is_file():
            raise CheckpointError(f"{self.folder} holds a run that is no evaluation: give another folder with --out")
        changes = spec_differences(decisive(old), decisive(self.evaluated.model_dump(mode="json")))
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        changes += [f"{key} was {known.get(key)} and is {is_}" for key, is_ in about.items() if known.get(key) != is_]
        if changes:
            raise CheckpointError(
                f"{self.folder} holds an evaluation of something else: {'; '.join(changes)}. Keep this one elsewhere "
                "(--out FOLDER), or move that one aside with --fresh"
            )
        return known

    @property
    def asked(self) -> int | None:
        """How many questions the scores are of that are there; None before it was played to its end."""
        asked: int | None = self.about.get("asked")
        return asked

    def tell(self, about: dict[str, Any]) -> None:
        """Write what this is about, and perhaps how it went."""
        self.about = about
        text = json.dumps(about, indent=1)
        replace(self.folder / NAME, lambda path: path.write_text(text, encoding="utf-8"))

    def searched(self, fingerprint: str | None) -> None:
        """Take what names corpus and index. Raises `CheckpointError` when earlier episodes had searched others."""
        known = self.about.get("retriever")
        if fingerprint and known and known != fingerprint:
            raise CheckpointError(
                f"{self.folder} holds episodes that have searched another corpus or index, under the same spec. Put "
                "it back, or move them aside with --fresh"
            )
        if fingerprint and not known:
            self.tell({**self.about, "retriever": fingerprint})

    def add(self, groups: Sequence[Group]) -> None:
        """Write what was just played behind what is there."""
        with self.writing():
            beside = self.path.with_name(f".{self.name}.new")
            write_groups(beside, groups)
            with self.path.open("ab") as file:
                file.write(beside.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            beside.unlink()

    def finish(self, groups: Sequence[Group], scores: Scores, decode: Any = None) -> None:
        """Write the episodes in the order of the questions, those of others behind them; scores; and the page."""
        values = {name: value for name, value in scores.values.items() if value == value}
        line = json.dumps({"step": self.step, "evaluate": values})
        with self.writing():
            replace(self.path, lambda path: write_groups(path, groups))
            replace(self.folder / "metrics.jsonl", lambda path: path.write_text(line + "\n"))
            self.tell({**self.about, "asked": scores.questions, **scores.record()})
            page(self.folder, decode)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what a full or forbidden disk raises into `CheckpointError`."""
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be used: {error}. Now {advice(error)}, then give the same command again: what "
                "was played is not played again"
            ) from error


def mend(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    size = path.stat().st_size if path.exists() else 0
    if size:
        with path.open("r+b") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            whole = content.rfind(b"\n") + 1
        if whole < size:
            os.truncate(path, whole)


def decisive(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what of a spec an episode depends on."""
    greedy = (spec.get("evaluate") or {}).get("greedy")
    return {**{key: spec.get(key) for key in DECIDES}, "evaluate": {"greedy": greedy}}


def stamp(name: str) -> str | None:
    """Return what changes when the files of a model do; None where its name is no folder."""
    if not (folder := Path(name)).is_dir():
        return None
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        status = path.stat()
        content = digest(path) if status.st_size <= SMALL else f"{status.st_size} {status.st_mtime_ns}"
        total.update(f"{path.relative_to(folder)} {content}\n".encode())
    return total.hexdigest()


def episodes(folder: Path, name: str | None = None) -> tuple[str, list[Group]]:
    """Return the episodes of an evaluation by the name that a run keeps them under: by default the newest.

    Raises `DataError` when the folder holds no run, or the run no evaluation.
    """
    run = StoredRun(folder)
    if not run.spec.is_file():
        raise DataError(f"{folder} holds no run and no evaluation: name a folder that `train` or `eval` has left")
    held = [one for one in run.names if one.startswith("evaluate_")]
    if name is None and not held:
        raise DataError(
            f"{folder} holds no evaluation, expected trajectories/evaluate_<step>.jsonl: make one with eval"
        )
    chosen, about = name or held[-1], folder / NAME
    groups = run.groups(chosen)
    asked = json.loads(about.read_text(encoding="utf-8")).get("asked") if about.is_file() else None
    return chosen, groups[:asked]


def known(groups: Sequence[Group]) -> dict[Question, Group]:
    """Return what need not be played again: the newest group of each question that no outage ended."""
    return {group.question: group for group in groups if group.kept}

"""`sdsearch fidelity`, top to bottom: a run's policy plays, its turns are played on from, and credits are compared."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sdsearch.core.question import Question
from sdsearch.core.trajectory import kept
from sdsearch.errors import DataError, ModelError
from sdsearch.fidelity import continuations
from sdsearch.fidelity.advantages import TrueAdvantages, estimate
from sdsearch.fidelity.candidates import candidates, credited, objections
from sdsearch.fidelity.continuations import Continuations
from sdsearch.fidelity.gradients import GradientReport, Validity, validity
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.fidelity.result import Result
from sdsearch.fidelity.step_gradients import StepReport, of_run
from sdsearch.learning.run_probe import opened
from sdsearch.rollout.collect import bearable
from sdsearch.rollout.order import choose
from sdsearch.runs import checkpoint
from sdsearch.runs.folder import Run
from sdsearch.spec import load
from sdsearch.terminal.progress import Bars


def exact(chosen: Sequence[str] = (), questions: int = 30, group: int = 8, seed: int = 0) -> Result:
    """Judge credits on the small problem whose advantages are known; see `sdsearch.fidelity.known_problem`."""
    problem = SearchProblem()
    groups = problem.groups(questions, group, seed)
    methods, skipped = candidates(None, chosen)
    credits, failed = credited(methods, groups, ExactProbe(problem, seed + 1))
    truth = [TrueAdvantages.exact(problem.advantages(t)) for t in kept(groups)]
    about: dict[str, str | int | float] = {"turns of": "a search problem whose advantages are known exactly"}
    return Result({**about, "questions": questions}, groups, truth, credits, skipped | failed)


PROBLEMS = {
    "the search problem": SearchProblem(),
    "the one whose harmful searches end an episode": SearchProblem(fatal=True),
}
"""Whose exact gradients are known; on the second, more than the answer decides how long an episode lasts."""


def gradients(chosen: Sequence[str] = (), questions: int = 1500, group: int = 8, seed: int = 0) -> list[GradientReport]:
    """Judge the gradients that follow from credits on problems that are known; see `sdsearch.fidelity.gradients`."""
    reports = []
    methods, lacking = candidates(None, chosen)
    for name, problem in PROBLEMS.items():
        groups, rows, skipped = problem.groups(questions, group, seed), dict[str, Validity](), dict(lacking)
        with Bars(Console(stderr=True)) as bars:
            task = bars.task(name, len(methods))
            for method, credit in methods.items():
                probe = ExactProbe(problem, seed + 1)
                told, failed = credited({method: credit}, groups, probe)
                rows |= {one: validity(numbers, groups, problem, probe.episodes) for one, numbers in told.items()}
                skipped |= failed
                task.advance()
        about: dict[str, str | int | float] = {"problem": name, "groups": questions, "rollouts of each": group}
        reports.append(GradientReport.of(about, rows, skipped))
    return reports


def ready(folders: Sequence[Path], number: int | None) -> Path:
    """Check that runs can be judged, before the first is, which takes long; return the folder that holds them.

    Raises `CheckpointError` when one has no such checkpoint, and `DataError` when one is no run or is named twice.
    """
    whole = [folder.resolve() for folder in folders]
    if twice := [str(folder) for folder, path in zip(folders, whole, strict=True) if whole.count(path) > 1]:
        raise DataError(f"got {' and '.join(twice)}, expected each run once")
    for folder in folders:
        run = Run.open(folder)
        load(run.spec)
        run.checkpoint(number)
    return Path(commonpath([folder.parent for folder in whole]))


def score_run(
    folder: Path,
    number: int | None = None,
    questions: int = 24,
    group: int | None = None,
    k: int = 16,
    chosen: Sequence[str] = (),
    split: Literal["train", "test"] = "test",
    stored: str | None = None,
    seed: int = 0,
) -> Result:
    """Judge credits on turns of a run's policy; see the command.

    Raises `CheckpointError` when the run has no such checkpoint, `DataError` when it has no such trajectories, and
    `RetrieverUnavailable` when outages last.
    """
    run = Run.open(folder)
    experiment = load(run.spec, [f"train.group={group}"] if group else [])
    most = experiment.train.max_outage_rate
    path = run.checkpoint(number)
    if why := experiment.untrainable:
        raise ModelError(f"{folder}: {why}")
    objective = experiment.stage(int((stored or path.name).rpartition("_")[2]) - 1).objective
    methods, skipped = candidates(objective, chosen)
    dice = Random(f"fidelity/{seed}")
    pool = experiment.questions(split)

    def lot(which: int) -> list[Question]:
        return choose(pool, 0, min(questions, len(pool)), seed, which)

    needs = frozenset(n for c in methods.values() for n in c.needs)
    probe = opened(experiment, needs, lot, dice.getrandbits(32), path)
    skipped |= objections(methods, experiment.conditions(objective), probe.has)
    methods = {n: c for n, c in methods.items() if n not in skipped}
    credits: dict[str, list[NDArray[np.float64]]] = {}
    with Bars(Console(stderr=True), beat=10) as bars:
        task = bars.task("episodes and their credits", 1 + len(methods))
        groups = run.groups(stored)[:questions] if stored else experiment.train.rollouts.collect(probe.collector)
        bearable(groups, most)
        task.advance()
        # Before the continuations, which take long: a credit that fails should do so at once.
        for method, credit in methods.items():
            told, failed = credited({method: credit}, groups, probe)
            credits, skipped = credits | told, skipped | failed
            task.advance(note=method)
    at_once = min(experiment.evaluate.batch, probe.collector.at_once or experiment.evaluate.batch)
    file = folder / continuations.NAME
    weights = f"{checkpoint.digest(path / 'about.json')} {probe.collector.env_factory.fingerprint}"
    later = Continuations(probe.collector, k, dice.getrandbits(32), at_once, file, weights)
    truth = estimate(groups, later, k)
    bearable(later.played, most)
    about: dict[str, str | int | float] = {
        "run": str(folder),
        "checkpoint": path.name,
        "turns of": f"trajectories/{stored}.jsonl" if stored else f"{split} questions, played by the checkpoint",
        "questions": len(groups),
        "continuations of each state": k,
        "continuations": sum(len(g.trajectories) for g in later.played),
        "seed": seed,
    }
    later.done()
    return Result(about, groups, truth, credits, skipped)


def run_gradients(
    folder: Path,
    number: int | None = None,
    questions: int | None = None,
    group: int | None = None,
    chosen: Sequence[str] = (),
    split: Literal["train", "test"] = "train",
    seed: int = 0,
) -> StepReport:
    """Compare the gradients of single steps of a run with those of more; see `sdsearch.fidelity.step_gradients`.

    `questions` are cut into steps of `train.questions`; by default they make eight. Raises as `score_run`, and
    `DataError` when they make fewer than three steps.
    """
    run = Run.open(folder)
    experiment = load(run.spec, [f"train.group={group}"] if group else [])
    path = run.checkpoint(number)
    if why := experiment.untrainable:
        raise ModelError(f"{folder}: {why}")
    step, size = int(path.name.rpartition("_")[2]), experiment.train.questions
    stage = experiment.stage(max(0, step - 1))
    methods, skipped = candidates(stage.objective, chosen)
    methods = {n: c for n, c in methods.items() if not n.endswith(" (implied)")}  # the terms are there themselves
    pool, dice = experiment.questions(split), Random(f"fidelity/{seed}")
    count = min(questions or 8 * size, len(pool))
    if count < 3 * size:
        raise DataError(f"got {count} questions, expected at least {3 * size}: three steps of `train.questions`")

    def lot(which: int) -> list[Question]:
        return choose(pool, 0, count, seed, which)

    needs = frozenset(n for c in methods.values() for n in c.needs)
    probe = opened(experiment, needs, lot, dice.getrandbits(32), path)
    skipped |= objections(methods, experiment.conditions(stage.objective), probe.has)
    groups = experiment.train.rollouts.collect(probe.collector)
    bearable(groups, experiment.train.max_outage_rate)
    steps = [groups[i : i + size] for i in range(0, count - size + 1, size)]
    about: dict[str, str | int | float] = {"run": str(folder), "checkpoint": path.name, "seed": seed}
    about |= {"questions of a step": size, "attempts at each": experiment.train.group}
    credits = {n: c for n, c in methods.items() if n not in skipped}
    return of_run(probe, steps, stage, max(0, step - 1), credits, about, skipped)

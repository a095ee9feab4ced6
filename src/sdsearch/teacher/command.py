"""`sdsearch teacher`, top to bottom: a policy plays, or groups are read back, and each hint is judged on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sdsearch.contracts.hint import Hints
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, kept, read_groups
from sdsearch.errors import ContextError, DataError, ModelError
from sdsearch.hinting.flip import Queries
from sdsearch.learning.run_probe import opened
from sdsearch.learning.source import legible
from sdsearch.rollout.collect import bearable
from sdsearch.rollout.order import choose
from sdsearch.runs.folder import Run
from sdsearch.spec import load
from sdsearch.teacher.asked import asked
from sdsearch.teacher.figures import Heard
from sdsearch.teacher.result import Result
from sdsearch.terminal.progress import Bars


def know(
    place: Path,
    overrides: Sequence[str] = (),
    number: int | None = None,
    questions: int = 40,
    chosen: Sequence[str] = (),
    split: Literal["train", "test"] = "test",
    stored: str | None = None,
    seed: int = 0,
) -> Result:
    """Judge hints with the weights of a spec, or of a run's checkpoint; see the command.

    `stored` names trajectories of the run, or a file of them. Raises `DataError` when there are none, when they are of
    another tokeniser, or when no group has right and wrong attempts; and what `opened` raises.
    """
    run = Run.open(place) if place.is_dir() else None
    experiment = load(run.spec if run else place, overrides)
    if not experiment.agent.trainable:
        raise ModelError(f"{place}: the agent `{experiment.agent.type}` has no weights: expected `policy`")
    path = run.checkpoint(number) if run else None
    objective = experiment.stages[-1].objective if experiment.stages else None
    hints = asked(objective, chosen)
    dice = Random(f"teacher/{seed}")
    pool = experiment.questions(split)

    def lot(which: int) -> list[Question]:
        return choose(pool, 0, min(questions, len(pool)), seed, which)

    needs = frozenset(one.teacher for one in hints)
    probe = opened(experiment, needs, lot, dice.getrandbits(32), path)
    with Bars(Console(stderr=True)) as bars:  # standard output is for what was found
        task = bars.task("score hints", len(hints) + 1)
        if stored:
            groups = recorded(run.folder if run else None, stored)[:questions]
            legible(stored, groups[0], probe.weights.policies["live"].codec)
        else:
            groups = experiment.train.rollouts.collect(probe.collector)
            bearable(groups, experiment.train.max_outage_rate)
        mixed = [g for g in groups if Queries([g]).mixed.any()]
        if not mixed:
            raise DataError(
                f"none of {len(groups)} groups has right attempts and wrong ones, with a query: there is nothing to "
                "tell apart; ask more --questions, or attempts at another sampling.temperature"
            )
        plain = probe.logprobs(mixed)
        task.advance()
        heard, skipped = {}, {}
        for name, hint, teacher in hints:

            def score(texts: Hints | None, teacher: Any = teacher) -> list[NDArray[np.float64]]:
                return probe.logprobs(mixed, texts, teacher)

            try:
                heard[name] = Heard.of(mixed, hint, plain, score, seed)
            except ContextError as error:
                skipped[name] = str(error)
            task.advance()
    truth = advantages(run.folder, stored, mixed) if run and stored else None
    figures = {name: one.figures(truth) for name, one in heard.items()}
    about: dict[str, str | int | float] = {
        "weights": f"{place}, {path.name}" if path else f"{place}, {experiment.model.name}",
        "groups with both outcomes": f"{len(mixed)} of {len(groups)}",
        "attempts": len(kept(mixed)),
        "queries": len(Queries(mixed)),
        "sampled at temperature": experiment.sampling.temperature,
        "seed": seed,
    }
    return Result(about, mixed, heard, figures, skipped)


def recorded(folder: Path | None, stored: str) -> list[Group]:
    """Return the groups in a file, or those that a run keeps under a name. Raises `DataError` when there are none."""
    path = Path(stored)
    if not path.is_file() and folder is None:
        raise DataError(f"{stored}: there is no such file; without a run, trajectories are named by their file")
    groups = list(Run.open(folder).groups(stored) if folder and not path.is_file() else read_groups(path))
    if not groups:
        raise DataError(f"{stored} holds no groups of trajectories")
    return groups


def advantages(folder: Path, stored: str, groups: Sequence[Group]) -> NDArray[np.float64] | None:
    """Return the true advantage of each query, where `sdsearch fidelity` has estimated those of the same trajectories.

    NaN for a query that it has not judged; None without any.
    """
    path = folder / "fidelity.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["about"].get("turns of") != f"trajectories/{stored}.jsonl":
        return None
    known = {
        (turn["question"], turn["trajectory"][1], turn["turn"]): turn["value"]
        for turn in record["turns"]
        if turn["value"] is not None
    }
    owners = [(g.question.id, n) for g in groups for n, t in enumerate(g.trajectories) if not t.lost]
    queries = Queries(groups)
    places = [(*owners[index], turn) for (index, _), turn in zip(queries.tokens, queries.turn, strict=True)]
    return np.array([known.get(place, np.nan) for place in places], np.float64)

"""Play a spec's held-out questions with its agent as it is, in one process or several, and keep every episode."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from rich.console import Console

from sdsearch.contracts.agent import AgentSession
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.errors import DataError, Unavailable
from sdsearch.evaluation.figures import Scores, scores
from sdsearch.evaluation.kept import Kept, known
from sdsearch.learning.processes import Processes
from sdsearch.rollout.collect import bearable
from sdsearch.rollout.evaluate import evaluate as play
from sdsearch.rollout.session import open_session
from sdsearch.runs.lock import occupied
from sdsearch.spec import Experiment
from sdsearch.terminal.progress import Bars

BEAT = 10.0
"""Seconds after which it says at the latest how far it is."""


class Evaluation(NamedTuple):
    """How an agent did."""

    figures: dict[str, float]
    """Means over the episodes that no outage ended; of several test sets the means over the sets."""
    groups: list[Group]
    """What was played: one episode of each question, in their order."""
    scores: Scores
    """The same figures with intervals, by test set, kind and hops."""
    folder: Path | None = None
    """Where all of it is kept."""


def evaluate(
    experiment: Experiment,
    processes: Processes | None = None,
    folder: Path | str | None = None,
    fresh: bool = False,
    step: int = 0,
    console: Console | None = None,
) -> Evaluation:
    """Play the held-out questions of a spec; the same seed gives the same episodes.

    With a `folder` every episode is kept in it as soon as its batch is over, and those that are there are not played
    again; `fresh` moves them aside. `step` is after how many steps of training the agent is evaluated, `console` where
    progress is shown. Several processes share the questions out, and all return the same. Raises `DataError` without
    questions, `Unavailable` when outages last, and `CheckpointError` when the folder is in the way.
    """
    processes = processes or Processes(Accelerator())
    questions = experiment.held_out()
    if not questions:
        raise DataError("data.test has no questions, so that there is nothing to evaluate")
    kept = Kept(Path(folder), experiment, step) if folder else None
    with ExitStack() as stack:
        if kept and processes.main:
            stack.enter_context(occupied(kept.folder))
        there = processes.attempt(lambda: kept.begin(fresh) if kept and processes.main else [])
        there = processes.gather(there)[0]
        done = known(there)
        bars = stack.enter_context(Bars(console, BEAT)) if console and processes.main else None
        task = bars.task("evaluate", len(questions)) if bars else None
        if task:
            task.advance(sum(q in done for q in questions))
        ahead = iter(q for q in questions if q not in done)
        lost, played = list[Group](), Played(experiment, processes, kept)
        while lot := list(islice(ahead, experiment.evaluate.batch * processes.count)):
            groups = played.lot(lot)
            done |= known(groups)
            lost += [group for group in groups if not group.kept]
            if task:
                task.advance(len(lot), f"{len(lost)} ended by outages" if lost else "")
        done |= {group.question: group for group in lost}
        groups = [done[question] for question in questions if question in done]
        result = scores(groups)
        others = [group for question, group in done.items() if question not in set(questions)]
        if kept and processes.main and not (kept.asked == len(groups) and [*groups, *others] == there):
            kept.finish([*groups, *others], result, played.decode)
    return Evaluation(result.values, groups, result, kept.folder if kept else None)


class Played:
    """Plays lots of questions; opens agent and environment with the first, so that nothing is opened for none."""

    def __init__(self, experiment: Experiment, processes: Processes, kept: Kept | None) -> None:
        """Take what is to be played, and where it is kept."""
        self.experiment, self.processes, self.kept = experiment, processes, kept
        self.session: AgentSession | None = None
        self.groups: list[Group] = []

    def lot(self, questions: list[Question]) -> list[Group]:
        """Play some questions, all processes together, and keep their episodes."""
        experiment, settings, processes = self.experiment, self.experiment.evaluate, self.processes
        if self.session is None:
            self.session, self.env_factory = open_session(experiment), experiment.environment.open()
            kept, searches = self.kept if processes.main else None, self.env_factory
            processes.attempt(lambda: kept.searched(searches.fingerprint) if kept else None)
        session, mine = self.session, processes.share(questions)

        def some() -> list[Group]:
            return play(self.env_factory, session, mine, settings.batch, experiment.seed, settings.greedy)

        groups = processes.collect(processes.attempt(some))
        self.groups += groups
        if self.kept and processes.main:
            self.kept.add(groups)
        try:
            bearable(self.groups, experiment.train.max_outage_rate)
        except Unavailable as error:
            if self.kept is None:
                raise
            again = "the same command plays what is missing, these episodes included"
            raise type(error)(f"{error}; mend it: {again}. What was played is in {self.kept.folder}") from error
        return groups

    @property
    def decode(self) -> Any:
        """What turns tokens into text, if the agent has it."""
        codec = getattr(getattr(self.session, "model", None), "codec", None)
        return codec.decode if codec else None

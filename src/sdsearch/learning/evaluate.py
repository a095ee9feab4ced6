"""Play a spec's held-out questions with its agent as it is, in one process or several."""

from __future__ import annotations

from typing import NamedTuple

from accelerate import Accelerator

from sdsearch.core.trajectory import Group
from sdsearch.learning.processes import Processes
from sdsearch.rollout.evaluate import evaluate as play
from sdsearch.rollout.evaluate import mean
from sdsearch.rollout.session import open_session
from sdsearch.spec import Experiment


class Evaluation(NamedTuple):
    """How an agent did."""

    figures: dict[str, float]
    """Means over the episodes that no outage ended."""
    groups: list[Group]
    """What was played: one episode of each question, in their order."""


def evaluate(experiment: Experiment, processes: Processes | None = None) -> Evaluation:
    """Play the first `evaluate.questions` of the spec's test questions; the same seed gives the same episodes.

    Several processes share them out, and all return the same. Raises `Unavailable` when outages last.
    """
    processes, settings = processes or Processes(Accelerator()), experiment.evaluate
    session, env_factory = open_session(experiment), experiment.environment.open()
    mine = processes.share(experiment.questions("test")[: settings.questions])
    limit, seed = experiment.train.max_outage_rate, experiment.seed

    def some() -> list[Group]:
        return play(env_factory, session, mine, settings.batch, seed, settings.greedy, max_outage_rate=limit)

    groups = processes.collect(processes.attempt(some))
    return Evaluation(mean(groups), groups)

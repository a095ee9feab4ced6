"""A spec's policy, or what a checkpoint made of it, opened to be asked outside of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from sdsearch.core.question import Question
from sdsearch.learning.learner import Learner
from sdsearch.learning.probe import ModelProbe
from sdsearch.learning.processes import Processes
from sdsearch.policy.memory import episodes_at_once
from sdsearch.policy.policy import language_model
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.runs import checkpoint
from sdsearch.spec import Experiment


class RunProbe(ModelProbe):
    """Asks what a run has kept."""

    @property
    def has(self) -> frozenset[str]:
        """The weights that it can ask."""
        return frozenset(self.weights.policies) | ({"critic"} if self.critic else set())


def opened(
    experiment: Experiment,
    needs: frozenset[str],
    lot: Callable[[int], list[Question]],
    seed: int,
    path: Path | None = None,
) -> RunProbe:
    """Open a spec's policy, with the weights of the checkpoint at `path` if there is one.

    `needs` are weights that are asked for beside those of its objective, `lot` gives the questions to play. Raises
    `ModelError` for a model that cannot be loaded, or a teacher of another vocabulary, and `CheckpointError`.
    """
    settings, grammar = experiment.train, experiment.environment.grammar
    about, state = checkpoint.load(path) if path else ({"step": 0}, {})
    # Copied before the checkpoint is put in: the first weights are those that the spec names.
    learner = Learner(experiment, Processes(Accelerator()), needs & {"frozen"})
    if path:
        checkpoint.restore(path, learner.policy)
        learner.teachers.load_state_dict(state["teachers"])
        if learner.critic:
            learner.critic.load_state_dict(state["critic"])
    model = language_model(experiment.model, experiment.sampling, learner.policy)
    play = EpisodeCollector(
        experiment.environment.open(),
        experiment.agent.open(grammar, model),
        lot(0),
        settings.group,
        seed,
        int(about["step"]),
        lot,
        at_once=episodes_at_once(learner.policy, model.context),
    )
    first = experiment.stage(max(0, play.step - 1)).first if path else 0
    return RunProbe(play, grammar, learner.teachers, learner.tokens_per_batch, learner.critic, first=first)

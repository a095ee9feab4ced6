"""A spec's agent, opened: one that acts with the spec's `model` is given it."""

from __future__ import annotations

from sdsearch.contracts.agent import AgentSession
from sdsearch.policy.policy import Policy, language_model
from sdsearch.spec import Experiment


def open_session(experiment: Experiment) -> AgentSession:
    """Open the agent as it is, for who does not train it. Raises `ModelError` when its model cannot be loaded."""
    agent, model, sampling = experiment.agent, experiment.model, experiment.sampling
    if not agent.trainable:
        return agent.open(experiment.environment.grammar)
    grammar = experiment.environment.grammar
    policy = Policy.load(model, sampling.temperature, grammar.tags, grammar.preamble)
    return agent.open(grammar, language_model(model, sampling, policy))

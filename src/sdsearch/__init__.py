"""A laboratory for credit assignment in search-augmented agents.

What a script or a component needs is here, and comes when it is asked for: importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from sdsearch import testing
    from sdsearch.contracts.agent import Agent, AgentSession, Reply
    from sdsearch.contracts.credit import Advantages, Credit, GroupCredit, Probe
    from sdsearch.contracts.data import Corpus, Dataset
    from sdsearch.contracts.engine import Engine, LanguageModel, Sampler
    from sdsearch.contracts.environment import EnvFactory, Environment, Grammar, Reward
    from sdsearch.contracts.hint import Hint
    from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
    from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever, Searcher
    from sdsearch.contracts.rollouts import Collector, RolloutStrategy
    from sdsearch.core.question import Hit, Hop, Passage, Question
    from sdsearch.core.tokens import TokenTable
    from sdsearch.core.trajectory import Fork, Group, Segment, Span, Trajectory, Turn
    from sdsearch.crediting.per_turn import per_turn, whole
    from sdsearch.crediting.policy_gradient import PolicyGradient
    from sdsearch.evaluation.evaluate import evaluate
    from sdsearch.learning.train import train
    from sdsearch.runs.folder import Run
    from sdsearch.spec import Experiment, load

__version__ = "0.1.0"

PLACES = {
    "contracts.agent": "Agent AgentSession Reply",
    "contracts.credit": "Advantages Credit GroupCredit Probe",
    "contracts.data": "Corpus Dataset",
    "contracts.engine": "Engine LanguageModel Sampler",
    "contracts.environment": "EnvFactory Environment Grammar Reward",
    "contracts.hint": "Hint",
    "contracts.loss": "LossInput LossOutput Selection Term",
    "contracts.retrieval": "Embedder Encoder Retriever Searcher",
    "contracts.rollouts": "Collector RolloutStrategy",
    "core.question": "Hit Hop Passage Question",
    "core.tokens": "TokenTable",
    "core.trajectory": "Fork Group Segment Span Trajectory Turn",
    "crediting.per_turn": "per_turn whole",
    "crediting.policy_gradient": "PolicyGradient",
    "evaluation.evaluate": "evaluate",
    "learning.train": "train",
    "runs.folder": "Run",
    "spec": "Experiment load",
}
"""The module of each name."""
FACE = {name: module for module, names in PLACES.items() for name in names.split()}

__all__ = [
    "Advantages",
    "Agent",
    "AgentSession",
    "Collector",
    "Corpus",
    "Credit",
    "Dataset",
    "Embedder",
    "Encoder",
    "Engine",
    "EnvFactory",
    "Environment",
    "Experiment",
    "Fork",
    "Grammar",
    "Group",
    "GroupCredit",
    "Hint",
    "Hit",
    "Hop",
    "LanguageModel",
    "LossInput",
    "LossOutput",
    "Passage",
    "PolicyGradient",
    "Probe",
    "Question",
    "Reply",
    "Retriever",
    "Reward",
    "RolloutStrategy",
    "Run",
    "Sampler",
    "Searcher",
    "Segment",
    "Selection",
    "Span",
    "Term",
    "TokenTable",
    "Trajectory",
    "Turn",
    "evaluate",
    "load",
    "per_turn",
    "testing",
    "train",
    "whole",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name == "testing":
        return import_module("sdsearch.testing")
    if name in FACE:
        return getattr(import_module(f"sdsearch.{FACE[name]}"), name)
    raise AttributeError(f"module 'sdsearch' has no attribute {name!r}, expected one of {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


gymnasium.register(
    id="sdsearch/SearchQA-v0",
    entry_point="sdsearch.envs.search_env:SearchEnv",
    vector_entry_point="sdsearch.envs.vector_env:SearchVectorEnv",
)

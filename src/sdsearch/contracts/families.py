"""Every family that a spec can name, by its name there."""

from __future__ import annotations

from sdsearch.config.component import Component
from sdsearch.config.words import quoted, suggest
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.contracts.engine import Engine
from sdsearch.contracts.environment import Environment, Grammar, Reward
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import Term
from sdsearch.contracts.retrieval import Embedder, Retriever
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.errors import ComponentError

KNOWN: list[type[Component]] = [
    *(
        Agent,
        Corpus,
        Credit,
        Dataset,
        Embedder,
        Engine,
        Environment,
        Grammar,
        Hint,
        Retriever,
        Reward,
        RolloutStrategy,
        Term,
    )
]
FAMILIES = {family.family: family for family in sorted(KNOWN, key=lambda f: f.family)}
"""Sorted by name."""


def family_of(name: str) -> type[Component]:
    """Return a family. Raises `ComponentError` when there is none of that name."""
    if name not in FAMILIES:
        listed = f"{', '.join(FAMILIES)}{suggest(name, FAMILIES)}"
        raise ComponentError(f"unknown family {quoted(name)}, expected one of {listed}")
    return FAMILIES[name]

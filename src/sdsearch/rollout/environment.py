"""An environment section of a spec, opened: its index is loaded once and serves every batch of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sdsearch.core.question import Question
from sdsearch.envs.search import SearchVectorEnv
from sdsearch.retrieval.cached import Cached
from sdsearch.spec import Environment


class EnvFactory(Protocol):
    """Makes environments."""

    def __call__(self, questions: Sequence[Question], /) -> SearchVectorEnv:
        """Return an environment with one episode for each question."""


class SearchEnvFactory:
    """Makes search environments that share one searcher."""

    def __init__(self, settings: Environment) -> None:
        """Open the retriever: build or load its index."""
        self.settings = settings
        self.searcher = Cached(settings.retriever.open(), patience=settings.patience)

    def __call__(self, questions: Sequence[Question], /) -> SearchVectorEnv:
        """Return an environment with one episode for each question."""
        return SearchVectorEnv(
            len(questions),
            questions=questions,
            searcher=self.searcher,
            grammar=self.settings.protocol,
            reward=self.settings.reward,
            max_turns=self.settings.max_turns,
            top_k=self.settings.top_k,
            on_invalid=self.settings.on_invalid,
        )

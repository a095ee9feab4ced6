"""Multi-turn question answering by search: what a spec's `environment` is unless it names another type."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sdsearch.contracts.environment import EnvFactory, Environment, Grammar, Reward
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.trajectory import Trajectory
from sdsearch.errors import ComponentError
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.patience import Patience

if TYPE_CHECKING:
    from sdsearch.envs.vector_env import SearchVectorEnv


class Search(Environment):
    """Questions are answered by searching a corpus, turn by turn."""

    retriever: Retriever
    """What is searched."""
    patience: Patience = Patience()
    """How long a search may take before it is an outage."""
    protocol: Grammar = Field(default="search_r1", validate_default=True)
    """How prompts, actions and observations are written."""
    reward: Reward = Field(default="exact_match", validate_default=True)
    """What an answer is worth."""
    top_k: int = Field(3, ge=1, le=1000)
    """The number of passages that a search returns."""
    on_invalid: Literal["retry", "end"] = "retry"
    """What follows an invalid action: a notice and the next turn, or the end of the episode."""

    @property
    def grammar(self) -> Grammar:
        return self.protocol

    def open(self) -> SearchEnvFactory:
        """Return what makes the environments; the retriever is opened when it is first needed."""
        return SearchEnvFactory(self)


class SearchEnvFactory(EnvFactory):
    """Makes search environments that share one searcher: its index is loaded once."""

    def __init__(self, settings: Search) -> None:
        """Take the settings."""
        self.settings = settings

    @cached_property
    def searcher(self) -> Cached:
        """The opened retriever, with a cache and patience; the first time builds, loads or reaches its index.

        Raises `ComponentError` for one that returns fewer hits than are wanted.
        """
        found, wanted = Cached.opened(self.settings.retriever, self.settings.patience), self.settings.top_k
        most: int | None = getattr(found.searcher, "most", None)
        if most is not None and most < wanted:
            raise ComponentError(
                f"the retriever {self.settings.retriever.type} returns at most {most} passages, expected {wanted} "
                "(environment.top_k): set it to return as many, or ask for fewer"
            )
        return found

    def __call__(self, num_envs: int) -> SearchVectorEnv:
        """Return an environment of so many episodes."""
        from sdsearch.envs.vector_env import SearchVectorEnv

        settings = self.settings
        return SearchVectorEnv(
            num_envs,
            questions=(),
            searcher=lambda: self.searcher,
            grammar=settings.protocol,
            reward=settings.reward,
            max_turns=settings.max_turns,
            top_k=settings.top_k,
            on_invalid=settings.on_invalid,
        )

    @property
    def fingerprint(self) -> str | None:
        """Names corpus and index, where the retriever says what they are."""
        return self.searcher.fingerprint

    def counters(self) -> dict[str, float]:
        """Return what the retriever was asked since the last call."""
        return asdict(self.searcher.take())

    def state_dict(self) -> dict[str, Any]:
        """Return the answers that are kept."""
        return self.searcher.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Take answers from a checkpoint."""
        self.searcher.load_state_dict(state)

    def state_at(self, trajectory: Trajectory, turn: int) -> dict[str, Any]:
        """Return the state before a turn: an episode is what was done and shown in it."""
        from sdsearch.envs.episode import boundary

        return boundary(trajectory, turn)

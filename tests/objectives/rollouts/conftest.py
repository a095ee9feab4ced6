"""A step to play in: a policy with random weights whose every turn is a search, in a real environment."""

from collections.abc import Callable, Sequence

import pytest

from sdsearch.agents.policy import PolicySession
from sdsearch.contracts.engine import Model, Sampling
from sdsearch.contracts.environment import Action
from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.core.question import Hit, Passage, Question
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.search import Search, SearchEnvFactory
from sdsearch.policy.policy import Policy, language_model
from sdsearch.retrieval.cached import Cached
from sdsearch.rollout.collect import EpisodeCollector

MakePlay = Callable[..., EpisodeCollector]


class EverySearch(SearchR1):
    """Takes whatever is written for a query."""

    def parse(self, text: str) -> Action:
        return Action("search", text)


class Shelf:
    """Answers each query with a passage that says the query backwards."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[Hit(Passage(q, "Rome", f"Airport 1 serves Rome. {q[::-1]}"), 1.0)] for q in queries]


class NoRetriever(Retriever):
    """Stands where a spec names one: it is never opened."""

    def open(self) -> Searcher:
        raise NotImplementedError


class Library(SearchEnvFactory):
    """Makes environments in which a shelf is searched."""

    searcher = Cached(Shelf())


@pytest.fixture
def play_of(tiny: Policy) -> MakePlay:
    """Return a builder of a step of two questions: its group, its seed, and the most turns of an episode."""
    grammar = EverySearch()
    questions = [Question(str(i), f"Which city does Airport {i} serve?", ("Rome",)) for i in range(2)]

    def build(group: int, seed: int = 5, max_turns: int = 4) -> EpisodeCollector:
        env_factory = Library(Search(retriever=NoRetriever(), protocol=grammar, max_turns=max_turns))
        session = PolicySession(grammar, language_model(Model(), Sampling(max_new_tokens=6), tiny))
        return EpisodeCollector(env_factory, session, questions, group, seed, 0)

    return build

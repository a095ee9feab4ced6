"""A step to play in: a policy with random weights whose every turn is a search, in a real environment."""

from collections.abc import Callable, Sequence

import pytest

from sdsearch.agents.local import Local, LocalActor
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.search import SearchVectorEnv
from sdsearch.model.policy import Policy
from sdsearch.rollout import Play
from sdsearch.types import Action, Hit, Passage, Question

MakePlay = Callable[..., Play]


class EverySearch(SearchR1):
    """Takes whatever is written for a query."""

    def parse(self, text: str) -> Action:
        return Action("search", text)


class Shelf:
    """Answers each query with a passage that says the query backwards."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[Hit(Passage(q, "Rome", f"Airport 1 serves Rome. {q[::-1]}"), 1.0)] for q in queries]


@pytest.fixture
def play_of(tiny: Policy) -> MakePlay:
    """Return a builder of a step of two questions: its group, its seed, and the most turns of an episode."""
    grammar, agent = EverySearch(), Local(max_new_tokens=6)
    questions = [Question(str(i), f"Which city does Airport {i} serve?", ("Rome",)) for i in range(2)]

    def build(group: int, seed: int = 5, max_turns: int = 4) -> Play:
        def world(asked: Sequence[Question]) -> SearchVectorEnv:
            return SearchVectorEnv(len(asked), questions=asked, searcher=Shelf(), grammar=grammar, max_turns=max_turns)

        actor = LocalActor(tiny, agent.engine.open(tiny, grammar.stop), grammar, agent)
        return Play(world, actor, questions, group, seed, 0)

    return build

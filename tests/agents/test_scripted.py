"""The script: an oracle without mistakes, and mistakes as often as asked for."""

import pytest

from sdsearch.agents.scripted import Scripted
from sdsearch.contracts.environment import EnvFactory
from sdsearch.contracts.retrieval import Searcher
from sdsearch.core.question import Question
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.errors import DataError
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    """Return a searcher over the atlas of 40 countries, with embeddings that need no weights."""
    return Exact(corpus=AtlasPassages(countries=40), embedder=Hashing()).open()


def played(searcher: Searcher, agent: Scripted, group: int = 1) -> dict[str, float]:
    """Play 100 questions and return the mean figures."""
    questions = AtlasQuestions(countries=40, hops=[2, 3], size=100).questions()

    class Found(EnvFactory):
        def __call__(self, num_envs: int) -> SearchVectorEnv:
            return SearchVectorEnv(num_envs, questions=(), searcher=searcher, max_turns=6)

    return mean(collect(Found(), agent.open(SearchR1()), questions, group, seed=1))


def test_the_oracle_answers_by_searching_and_reading(searcher: Searcher) -> None:
    figures = played(searcher, Scripted())
    assert figures["exact_match"] >= 0.95
    assert figures["gold_recall"] >= 0.95
    assert figures["invalid"] == 0


def test_mistakes_cost_answers(searcher: Searcher) -> None:
    wrong = played(searcher, Scripted(wrong_query=0.8, recover=0.2))["exact_match"]
    misread = played(searcher, Scripted(misread=1.0))["exact_match"]
    early = played(searcher, Scripted(early_answer=1.0))
    assert wrong < 0.6
    assert misread < 0.2
    assert early["exact_match"] < 0.2
    assert early["searches"] == pytest.approx(1, abs=0.3)


def test_rewording_keeps_the_meaning(searcher: Searcher) -> None:
    session = Scripted(reword=1.0).open(SearchR1())
    question = AtlasQuestions(countries=40, hops=[2], kinds=["bridge"]).questions()[0]
    session.reset([question], [0])
    (step,) = session.act([0], ["prompt"])
    hop = question.hops[0]
    assert step.action is not None
    assert step.action.text == f"<search> {hop.attribute} of {hop.entity} </search>"


def test_the_same_seed_plays_the_same(searcher: Searcher) -> None:
    agent = Scripted(wrong_query=0.5, recover=0.5, reword=0.5, early_answer=0.2, misread=0.2)
    assert played(searcher, agent, 2) == played(searcher, agent, 2)


def test_a_question_without_decomposition_is_refused() -> None:
    with pytest.raises(DataError, match="question q has no decomposition: the scripted agent needs `hops`"):
        Scripted().open(SearchR1()).reset([Question("q", "?", ("a",))], [0])

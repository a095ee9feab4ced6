"""What the episodes of an environment share: questions, retriever, grammar, reward and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from sdsearch.envs.episode import Episode, Search
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.reward.exact_match import ExactMatch
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval import Cached
from sdsearch.types import Dataset, Grammar, Question, Retriever, Reward, Searcher


class Game:
    """Begins episodes and plays their turns. Components may be given as objects or as mappings with `type`."""

    def __init__(
        self,
        *,
        questions: Sequence[Question] | None = None,
        searcher: Searcher | None = None,
        data: Dataset | Mapping[str, Any] | None = None,
        retriever: Retriever | Mapping[str, Any] | None = None,
        grammar: Grammar | Mapping[str, Any] | None = None,
        reward: Reward | Mapping[str, Any] | None = None,
        max_turns: int = 5,
        top_k: int = 3,
        on_invalid: Literal["retry", "end"] = "retry",
    ) -> None:
        """Take `questions` or the dataset `data` that gives them, and an opened `searcher` or a `retriever` to open.

        A retriever that is opened here is given a cache and patience; an opened searcher is taken as it is.

        Raises `ValueError` for a wrong setting.
        """
        if (questions is None) == (data is None):
            raise ValueError("expected either `questions` or `data`")
        if (searcher is None) == (retriever is None):
            raise ValueError("expected either `searcher` or `retriever`")
        if max_turns < 1 or top_k < 1:
            raise ValueError(f"got max_turns={max_turns} and top_k={top_k}, expected at least 1")
        if on_invalid not in ("retry", "end"):
            raise ValueError(f'got on_invalid={on_invalid!r}, expected "retry" or "end"')
        self.grammar = SearchR1() if grammar is None else component(Grammar, grammar)
        self.reward = ExactMatch() if reward is None else component(Reward, reward)
        self.questions = component(Dataset, data).questions() if questions is None else questions
        self.searcher = Cached(component(Retriever, retriever).open()) if searcher is None else searcher
        self.max_turns, self.top_k, self.on_invalid = max_turns, top_k, on_invalid
        if not self.questions:
            raise ValueError("got no questions, expected at least one")

    def draw(self, dice: np.random.Generator) -> Question:
        """Return a random question."""
        return self.questions[int(dice.integers(len(self.questions)))]

    def begin(self, question: Question) -> Episode:
        """Return a new episode."""
        return Episode(question, self.grammar, self.reward, self.max_turns, self.on_invalid)

    def play(self, episodes: Sequence[Episode], actions: Sequence[str]) -> None:
        """Take one action in each of `episodes`; all searches are one retrieval batch, without doubles.

        An outage ends the episodes that wanted to search and shows them nothing. Every other error is a fault of the
        program and passes through.
        """
        outcomes = [(episode, episode.act(text)) for episode, text in zip(episodes, actions, strict=True)]
        asking = [(episode, outcome.query) for episode, outcome in outcomes if isinstance(outcome, Search)]
        queries = list(dict.fromkeys(query for _, query in asking))
        if not queries:
            return
        try:
            hits = dict(zip(queries, self.searcher.search(queries, self.top_k), strict=True))
        except RetrieverUnavailable as error:
            for episode, _ in asking:
                episode.lose(str(error))
        else:
            for episode, query in asking:
                episode.observe(hits[query])


def component(family: type[Any], given: Any) -> Any:
    """Return a component from itself or from a mapping with `type`."""
    return TypeAdapter(family).validate_python(dict(given) if isinstance(given, Mapping) else given)

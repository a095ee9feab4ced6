"""The rules of question answering by search: how episodes begin, and what comes of the actions of one or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium.error import InvalidAction
from pydantic import TypeAdapter

from sdsearch.contracts.data import Dataset
from sdsearch.contracts.environment import Grammar, Reward
from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.core.question import Hit, Question
from sdsearch.core.trajectory import Turn
from sdsearch.envs.episode import Episode, Search
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval.cached import Cached

NOBODY = Question("", "", ())
"""Stands in an episode until its state is restored."""
SMALL: Mapping[str, Any] = {
    "data": {"type": "atlas", "split": "test", "hops": [1]},
    "retriever": {"type": "bm25", "corpus": "atlas"},
}
"""What is asked and searched where nothing is said: facts that come with the package, an index that is built fast."""


class Game:
    """Begins episodes and plays their turns. Components may be given as objects, names, or mappings with `type`."""

    def __init__(
        self,
        *,
        questions: Sequence[Question] | None = None,
        searcher: Searcher | Callable[[], Searcher] | None = None,
        data: Dataset | Mapping[str, Any] | None = None,
        retriever: Retriever | Mapping[str, Any] | None = None,
        grammar: Grammar | Mapping[str, Any] | str = "search_r1",
        reward: Reward | Mapping[str, Any] | str = "exact_match",
        max_turns: int = 5,
        top_k: int = 3,
        on_invalid: Literal["retry", "end"] = "retry",
    ) -> None:
        """Take `questions` or the dataset `data` that gives them, and an opened `searcher` or a `retriever` to open.

        A retriever that is opened here is given a cache and patience; an opened searcher is taken as it is, and one
        that a function returns is asked for at the first search. Where nothing is said there are small defaults.
        Without any `questions` (an empty list), `reset` has to be given some.

        Raises `ValueError` for a wrong setting.
        """
        data = SMALL["data"] if questions is None and data is None else data
        retriever = SMALL["retriever"] if searcher is None and retriever is None else retriever
        if questions is not None and data is not None:
            raise ValueError("got `questions` and `data`, expected either of them")
        if searcher is not None and retriever is not None:
            raise ValueError("got `searcher` and `retriever`, expected either of them")
        if max_turns < 1 or top_k < 1:
            raise ValueError(f"got max_turns={max_turns} and top_k={top_k}, expected at least 1")
        if on_invalid not in ("retry", "end"):
            raise ValueError(f'got on_invalid={on_invalid!r}, expected "retry" or "end"')
        self.grammar, self.reward = component(Grammar, grammar), component(Reward, reward)
        self.questions = component(Dataset, data).questions() if questions is None else questions
        self._searcher = Cached.opened(component(Retriever, retriever)) if searcher is None else searcher
        self.max_turns, self.top_k, self.on_invalid = max_turns, top_k, on_invalid

    @property
    def searcher(self) -> Searcher:
        """What is searched."""
        return self._searcher() if callable(self._searcher) else self._searcher

    def draw(self, dice: np.random.Generator) -> Question:
        """Return a random question. Raises `ValueError` where there is none."""
        if not self.questions:
            raise ValueError("got no questions to draw from, expected some in the options of `reset`")
        return self.questions[int(dice.integers(len(self.questions)))]

    def begin(self, question: Question) -> Episode:
        """Return a new episode, which nothing was given yet; see `first`."""
        return Episode(question, self.grammar, self.reward, self.max_turns, self.on_invalid)

    def first(self, episodes: Sequence[Episode]) -> None:
        """Search for the questions of episodes that have just begun, where the protocol does that.

        An outage shows them the bare prompt, and ends each after its first action, whatever that is.
        """
        if self.grammar.searches_first:
            self._search([(e, e.question.text) for e in episodes], Episode.give, Episode.miss)

    def play(self, episodes: Sequence[Episode], actions: Sequence[str]) -> None:
        """Take one action in each of `episodes`; all searches are one retrieval batch, without doubles.

        An outage ends the episodes that wanted to search and shows them nothing. Every other error is a fault of the
        program and passes through. Raises `InvalidAction`, before any episode has gone on, for an action that is no
        text.
        """
        for action in actions:
            if not isinstance(action, str):
                kind = type(action).__name__
                raise InvalidAction(f"got the action {action!r:.80} of type {kind}, expected a text (str)")
        outcomes = [(episode, episode.act(text)) for episode, text in zip(episodes, actions, strict=True)]
        asking = [(episode, outcome.query) for episode, outcome in outcomes if isinstance(outcome, Search)]
        self._search(asking, Episode.observe, Episode.lose)

    def _search(
        self,
        asking: Sequence[tuple[Episode, str]],
        found: Callable[[Episode, Sequence[Hit]], object],
        lost: Callable[[Episode, str], object],
    ) -> None:
        """Search for the query of each episode, without doubles, and give each what was found, or the outage."""
        queries = list(dict.fromkeys(query for _, query in asking))
        if not queries:
            return
        try:
            hits = dict(zip(queries, self.searcher.search(queries, self.top_k), strict=True))
        except RetrieverUnavailable as error:
            for episode, _ in asking:
                lost(episode, str(error))
        else:
            for episode, query in asking:
                found(episode, hits[query])


def component(family: type[Any], given: Any) -> Any:
    """Return a component from itself, its name, or a mapping with `type`."""
    return TypeAdapter(family).validate_python(dict(given) if isinstance(given, Mapping) else given)


def report(episode: Episode) -> dict[str, Any]:
    """Return the `info` of an episode: the question's id, and ids, titles and scores of what the last action found.

    At the end it has what `sdsearch.contracts.environment.FINAL` names, too; the outage of a search before the first
    turn at once.
    """
    last = episode.turns[-1] if episode.turns else Turn("", "")
    info: dict[str, Any] = {
        "question": episode.question.id,
        "hits": last.hits,
        "titles": last.titles,
        "scores": last.scores,
    }
    if episode.stop_reason is None:
        return info | ({"outage": episode.outage} if episode.outage else {})
    return info | {
        "turns": tuple(episode.turns),
        "answer": episode.answer,
        "stop_reason": episode.stop_reason,
        "outage": episode.outage,
        "metrics": episode.metrics(),
    }


def allowed(options: dict[str, Any] | None, *names: str) -> dict[str, Any]:
    """Return the options. Raises `ValueError` for a name that is not among `names`, which would have no effect."""
    unknown = set(options or {}) - set(names)
    if unknown:
        raise ValueError(f"got the options {sorted(unknown)}, expected {list(names)}")
    return options or {}

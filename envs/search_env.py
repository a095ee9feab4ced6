"""Question answering by search as Gymnasium knows environments: one episode, or many at once; text in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Tuple
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sdsearch.contracts.data import Dataset
from sdsearch.contracts.environment import Grammar, Reward
from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Turn
from sdsearch.envs.any_text import AnyText
from sdsearch.envs.episode import Episode, Search
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval.cached import Cached

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
        if not self.grammar.searches_first or not episodes:
            return
        queries = list(dict.fromkeys(e.question.text for e in episodes))
        try:
            hits = dict(zip(queries, self.searcher.search(queries, self.top_k), strict=True))
        except RetrieverUnavailable as error:
            for episode in episodes:
                episode.miss(str(error))
        else:
            for episode in episodes:
                episode.give(hits[episode.question.text])

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
    """Return a component from itself, its name, or a mapping with `type`."""
    return TypeAdapter(family).validate_python(dict(given) if isinstance(given, Mapping) else given)


Flags = NDArray[np.bool_]
NOBODY = Question("", "", ())
"""Stands in an episode until its state is restored."""


class SearchEnv(gymnasium.Env[str, str]):
    """One episode at a time. An action is all that the agent wrote in one turn; see `Game` for the settings.

    The first observation is the prompt, later ones are what to append, and after the end there is nothing ("").
    `terminated` means that the agent answered (or, with `on_invalid="end"`, failed to act); `truncated` that the turns
    were used up or the retriever could not be reached. `info["stop_reason"]` tells them apart.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, render_mode: Literal["ansi"] | None = None, **settings: Any) -> None:
        """Take the settings of `Game`; `render_mode="ansi"` lets `render` return the transcript."""
        self.render_mode, self.game = render_mode, Game(**settings)
        self.observation_space, self.action_space = AnyText(), AnyText()
        self._episode: Episode | None = None
        self._transcript: list[str] = []

    @property
    def episode(self) -> Episode:
        """The current episode. Raises `ResetNeeded` when there is none."""
        if self._episode is None:
            raise ResetNeeded("no episode has begun: call `reset` first")
        return self._episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode about `options["question"]`, or else about a random question."""
        super().reset(seed=seed)
        asked = allowed(options, "question").get("question")
        self._episode = self.game.begin(asked or self.game.draw(self.np_random))
        self.game.first([self._episode])
        self._transcript = [self._episode.shown]
        return self._episode.shown, report(self._episode)

    def render(self) -> str:
        """Return all that was shown and done in the episode so far. Raises `ResetNeeded` before the first `reset`."""
        stop = self.episode.stop_reason
        return "".join(self._transcript) + (f"\n[{stop}, reward {self.episode.reward:g}]\n" if stop else "")

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action. Raises `ResetNeeded` after the end."""
        episode = self.episode
        if episode.stop_reason is not None:
            raise ResetNeeded(f"the episode has ended ({episode.stop_reason}): call `reset` first")
        self.game.play([episode], [action])
        self._transcript += [action, episode.shown]
        return episode.shown, episode.reward, episode.terminated, episode.truncated, report(episode)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, ready for JSON."""
        return {"episode": self.episode.state(), "dice": self.np_random.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Go back to a state and return what the agent was shown last."""
        self._episode = self.game.begin(NOBODY)
        self._episode.restore(state["episode"])
        self.np_random.bit_generator.state = state["dice"]
        self._transcript = [self._episode.shown]
        return self._episode.shown, report(self._episode)


class SearchVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """Many episodes at once, with one retrieval batch a turn; see `SearchEnv` for the texts, `Game` for the settings.

    There is no automatic reset: an episode that has ended ignores further actions (its observation is "", its reward 0)
    until `reset` begins another one, everywhere or where `options["reset_mask"]` is true. `reset` takes the questions
    from `options["questions"]`, one per episode, or draws them. `infos` are filled in where an action was taken.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        """Take the number of episodes and the settings of `Game`."""
        if num_envs < 1:
            raise ValueError(f"got num_envs={num_envs}, expected at least 1")
        self.game = Game(**settings)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = AnyText(), AnyText()
        self.observation_space = Tuple([AnyText() for _ in range(num_envs)])
        self.action_space = Tuple([AnyText() for _ in range(num_envs)])
        self.episodes: list[Episode] = []
        self._owed = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin new episodes and return their prompts (and, where none was begun, what was shown last).

        With a list of seeds each episode draws its question from its own, as a `SearchEnv` would.
        """
        seeds = seed if isinstance(seed, Sequence) else None
        super().reset(seed=None if isinstance(seed, Sequence) else seed)
        given = allowed(options, "questions", "reset_mask")
        mask = self._mask(given.get("reset_mask"))
        questions = given.get("questions")
        if questions is None:
            dice = [self.np_random] * self.num_envs if seeds is None else [seeding.np_random(s)[0] for s in seeds]
            questions = [self.game.draw(d) for d in dice]
        if len(questions) != self.num_envs:
            raise ValueError(f"got {len(questions)} questions, expected one for each of {self.num_envs} episodes")
        self.episodes = [self.game.begin(q) if mask[i] else self.episodes[i] for i, q in enumerate(questions)]
        self.game.first([episode for i, episode in enumerate(self.episodes) if mask[i]])
        self._owed |= mask
        return self._shown(), self._infos(mask)

    def step(self, actions: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Take one action in each episode that goes on. The reward of an episode is paid once, at its end."""
        if not self.episodes:
            raise ResetNeeded("no episode has begun: call `reset` first")
        if isinstance(actions, str | bytes) or not hasattr(actions, "__len__"):
            raise InvalidAction(f"got the actions {actions!r:.80}, expected {self.num_envs} texts, one an episode")
        if len(actions) != self.num_envs:
            raise ValueError(f"got {len(actions)} actions, expected one for each of {self.num_envs} episodes")
        live = [i for i, e in enumerate(self.episodes) if e.stop_reason is None]
        self.game.play([self.episodes[i] for i in live], [actions[i] for i in live])
        paid = self._owed.copy()
        over = np.array([e.stop_reason is not None for e in self.episodes])
        rewards = np.array([e.reward for e in self.episodes]) * paid
        self._owed &= ~over
        terminated = np.array([e.terminated for e in self.episodes])
        truncated = np.array([e.truncated for e in self.episodes])
        return self._shown(), rewards, terminated, truncated, self._infos(paid)

    def end(self, row: int, reason: str) -> None:
        """End an episode from outside, such as for "context_full"; the next `step` pays its reward."""
        self.episodes[row].close(reason)

    def save(self, row: int) -> dict[str, Any]:
        """Return all that `restore` needs to go on with an episode; `paid` when its reward was."""
        state = self.episodes[row].state()
        return state if self._owed[row] else {**state, "paid": True}

    def state(self) -> dict[str, Any]:
        """Return all that `restore_all` needs, ready for JSON."""
        return {
            "episodes": [e.state() for e in self.episodes],
            "owed": self._owed.tolist(),
            "dice": self.np_random.bit_generator.state,
        }

    def restore_all(self, state: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Go back to a state of all episodes and return what the agents were shown last."""
        if len(state["episodes"]) != self.num_envs:
            raise ValueError(f"got the state of {len(state['episodes'])} episodes, expected {self.num_envs}")
        self.episodes = [self.game.begin(NOBODY) for _ in range(self.num_envs)]
        for episode, saved in zip(self.episodes, state["episodes"], strict=True):
            episode.restore(saved)
        self._owed = np.array(state["owed"], dtype=np.bool_)
        self.np_random.bit_generator.state = state["dice"]
        return self._shown(), self._infos(np.ones(self.num_envs, dtype=np.bool_))

    def restore(self, row: int, state: dict[str, Any]) -> str:
        """Put one episode at a state that `save` returned, here or elsewhere; return what it was shown last.

        Raises `ResetNeeded` before the first `reset`.
        """
        if not self.episodes:
            raise ResetNeeded("no episode has begun: call `reset` first")
        episode = self.episodes[row] = self.game.begin(NOBODY)
        episode.restore(state)
        self._owed[row] = not state.get("paid", False)
        return episode.shown

    def _shown(self) -> tuple[str, ...]:
        return tuple(e.shown for e in self.episodes)

    def _infos(self, mask: Flags) -> dict[str, Any]:
        # As Gymnasium's own `_add_info` does it, but faster: a column for each key, and where it is filled in.
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(mask):
            for key, value in report(self.episodes[i]).items():
                if key not in infos:
                    infos[key] = np.full(self.num_envs, None, object)
                    infos[f"_{key}"] = np.zeros(self.num_envs, np.bool_)
                infos[key][i], infos[f"_{key}"][i] = value, True
        return infos

    def _mask(self, mask: Any) -> Flags:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"got reset_mask={mask!r}, expected {self.num_envs} booleans in an array")
        if not self.episodes and not mask.all():
            raise ResetNeeded("no episode has begun: the first `reset` has no mask")
        return mask


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

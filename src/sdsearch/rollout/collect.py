"""Play episodes from their beginning, or on from where others were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sdsearch.contracts.agent import AgentSession
from sdsearch.contracts.environment import EnvFactory, TextVectorEnv
from sdsearch.core.question import SEED, Question
from sdsearch.core.trajectory import Fork, Group
from sdsearch.core.usage import Clock, Usage
from sdsearch.errors import ComponentError, ModelUnavailable, RetrieverUnavailable, Unavailable
from sdsearch.rollout.driver import all_texts, play
from sdsearch.rollout.order import row_seeds


def collect(
    env_factory: EnvFactory,
    session: AgentSession,
    questions: Sequence[Question],
    group: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
    attempts: Counter[str] | None = None,
    at_once: int | None = None,
) -> list[Group]:
    """Play `group` episodes of each question and return one group per question, in order.

    Tokens are drawn from `seed`, the question and its attempt; `attempts` are those made before, counted on. All are
    played at once, or as many groups as `at_once` episodes make, and one at least.
    """
    asked = [q for q in questions for _ in range(group)]
    seeds, groups = row_seeds(seed, asked, attempts), list[Group]()
    for first, some in lots(questions, group, at_once):
        rows = slice(first * group, (first + len(some)) * group)
        env, texts, _ = begin(env_factory, asked[rows])
        with closing(env):
            session.reset(asked[rows], seeds[rows], greedy)
            played = play(env, session, asked[rows], texts, clock or Clock())
        groups += [Group(q, tuple(played[i * group : (i + 1) * group])) for i, q in enumerate(some)]
    return groups


T = TypeVar("T")


def lots(items: Sequence[T], episodes: int, at_once: int | None) -> Iterator[tuple[int, Sequence[T]]]:
    """Cut what has so many episodes each into lots of `at_once` of them; yield where each begins, and what it holds."""
    many = len(items) if at_once is None else max(1, at_once // max(1, episodes))
    for first in range(0, len(items), max(1, many)):
        yield first, items[first : first + many]


def continue_from(
    env_factory: EnvFactory,
    session: AgentSession,
    forks: Sequence[Fork],
    k: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
    paired: bool = False,
    attempts: Counter[str] | None = None,
    at_once: int | None = None,
) -> list[Group]:
    """Play each fork to its end `k` times and return one group of `k` whole trajectories per fork; see `collect`.

    The environment goes on from the state at the turn's boundary, the session from the recorded tokens, which nothing
    encodes anew; what was recorded before the turn, log-probabilities included, opens each trajectory. Tokens are drawn
    afresh, as in `collect`; `paired`: continuation i of every fork of a question draws the same numbers in the same
    turns.

    Raises `ValueError` for a turn that an episode does not have.
    """
    if not k:
        return [Group(f.trajectory.question, ()) for f in forks]
    states = [env_factory.state_at(*fork) for fork in forks]
    every = [f.trajectory.question for f in forks for _ in range(k)]
    alike = [every[i * k : (i + 1) * k] for i in range(len(forks))] if paired else [every]
    seeds = [s for part in alike for s in row_seeds(seed, part, None if paired else attempts)]
    groups: list[Group] = []
    for first, some in lots(forks, k, at_once):
        asked = [f.trajectory.question for f in some for _ in range(k)]
        pasts = [f.trajectory.before(f.turn) for f in some for _ in range(k)]
        env, _, _ = begin(env_factory, asked)
        with closing(env):
            # Each row its own: an environment may play on in the very state that it was given.
            texts = [env.restore(i, deepcopy(states[first + i // k])) for i in range(len(asked))]
            session.reset(asked, seeds[first * k : (first + len(some)) * k], greedy)
            played = play(env, session, asked, texts, clock or Clock(), pasts)
        groups += [Group(f.trajectory.question, tuple(played[i * k : (i + 1) * k])) for i, f in enumerate(some)]
    return groups


def begin(
    env_factory: EnvFactory, questions: Sequence[Question]
) -> tuple[TextVectorEnv, Sequence[str], Mapping[str, Any]]:
    """Return an environment whose episodes are about some questions, what they show at first, and their infos.

    Raises `ComponentError` when that is not one text for each, or it lacks a method.
    """
    env = env_factory(len(questions))
    if missing := [name for name in METHODS if not callable(getattr(env, name, None))]:
        raise ComponentError(f"{type(env).__qualname__} has no {', '.join(missing)}, expected {', '.join(METHODS)}")
    if questions[0].kind == SEED:
        begun = env.reset(seed=[int(q.id) for q in questions])
    else:
        begun = env.reset(options={"questions": list(questions)})
    if not isinstance(begun, tuple) or len(begun) != 2:
        raise ComponentError(f"the environment's reset gave {begun!r:.80}, expected texts and infos")
    texts, infos = begun
    if not all_texts(texts, len(questions)):
        raise ComponentError(f"the environment's reset gave {texts!r:.80}, expected {len(questions)} texts")
    return env, texts, infos


METHODS = ("reset", "step", "save", "restore", "end", "close")
"""What an environment must have; see `sdsearch.contracts.environment.TextVectorEnv`."""


@dataclass
class EpisodeCollector:
    """Plays the rollouts of one step and counts them; see `sdsearch.contracts.rollouts.Collector`."""

    env_factory: EnvFactory
    session: AgentSession
    questions: Sequence[Question]
    """Those of the step."""
    group: int
    """Rollouts per question."""
    seed: int
    """Of the step: another one for each run and step."""
    step: int
    """Counted from 0."""
    more: Callable[[int], list[Question]] = lambda _: []
    """Other questions, as many as the step has, another lot for each number from 1."""
    clock: Clock = field(default_factory=Clock)
    usage: Usage = field(default_factory=Usage)
    attempts: Counter[str] = field(default_factory=Counter)
    """How often each question was played or gone on with: the next time it is another attempt."""
    at_once: int | None = None
    """The most episodes that are played at once; None: all. It bounds memory and draws nothing else."""

    def collect(self, questions: Sequence[Question], group: int) -> list[Group]:
        """Play `group` episodes of each question; see `collect`."""
        groups = collect(
            self.env_factory, self.session, questions, group, self.seed, False, self.clock, self.attempts, self.at_once
        )
        self.usage.add(groups)
        return groups

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play each fork to its end `k` times; see `continue_from`."""
        groups = continue_from(
            self.env_factory,
            self.session,
            forks,
            k,
            self.seed,
            greedy,
            self.clock,
            attempts=self.attempts,
            at_once=self.at_once,
        )
        self.usage.add(groups, [f.turn for f in forks])
        return groups


def bearable(groups: Sequence[Group], most: float) -> None:
    """Raise `Unavailable` when outages ended more than the share `most` of the episodes.

    It says why, and by its class what failed the last.
    """
    episodes = [t for g in groups for t in g.trajectories]
    lost = [t for t in episodes if t.lost]
    if len(lost) > most * len(episodes):
        what, kind = FAILED[lost[-1].stop_reason]
        raise kind(
            f"{what} failed in {len(lost) / len(episodes):.0%} of the episodes "
            f"(train.max_outage_rate is {most:.0%}): {lost[-1].outage}"
        )


FAILED: Mapping[str, tuple[str, type[Unavailable]]] = {
    "retriever_unavailable": ("the retriever", RetrieverUnavailable),
    "model_unavailable": ("the agent's model", ModelUnavailable),
}
"""What an outage is of, by the stop reason, and what it is raised as when it lasts."""

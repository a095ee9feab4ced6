"""Play episodes: questions in, groups of trajectories out."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, NamedTuple

from sdsearch.components.component import Component
from sdsearch.cost import Clock, Spent
from sdsearch.envs.episode import boundary
from sdsearch.envs.search import SearchVectorEnv
from sdsearch.errors import RetrieverUnavailable
from sdsearch.metrics import exact_match, f1
from sdsearch.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.types import Actor, Question

MakeEnv = Callable[[Sequence[Question]], SearchVectorEnv]
"""Makes an environment with one episode for each question."""


def collect(
    make_env: MakeEnv,
    actor: Actor,
    questions: Sequence[Question],
    group: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
) -> list[Group]:
    """Play `group` episodes of each question, all at once, and return one group per question, in order.

    Each turn is one call of the actor for all live episodes and one retrieval batch. A `context_full` episode ends
    before its next action.
    """
    asked = [q for q in questions for _ in range(group)]
    env = make_env(asked)
    texts, _ = env.reset(options={"questions": asked})
    actor.reset(asked, seed, greedy)
    found = play(env, actor, texts, clock or Clock())
    return [Group(q, tuple(found[i * group : (i + 1) * group])) for i, q in enumerate(questions)]


class Fork(NamedTuple):
    """A place to go on from: a recorded episode, before its turn `turn`. Turn 0 is the bare question."""

    trajectory: Trajectory
    turn: int


def continue_from(
    make_env: MakeEnv,
    actor: Actor,
    forks: Sequence[Fork],
    k: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
) -> list[Group]:
    """Play each fork to its end `k` times, all at once, and return one group of `k` whole trajectories per fork.

    The environment goes on from the state at the turn's boundary, the actor from the recorded tokens, which nothing
    encodes anew; what was recorded before the turn, log-probabilities included, opens each trajectory. Tokens are drawn
    afresh from `seed`. Raises `ValueError` for a turn that an episode does not have.
    """
    pasts = [f.trajectory.before(f.turn) for f in forks for _ in range(k)]
    asked = [f.trajectory.question for f in forks for _ in range(k)]
    if not asked:
        return [Group(f.trajectory.question, ()) for f in forks]
    env = make_env(asked)
    env.reset(options={"questions": asked})
    texts = [env.restore_row(i, boundary(*forks[i // k])) for i in range(len(asked))]
    actor.reset(asked, seed, greedy)
    found = play(env, actor, texts, clock or Clock(), pasts)
    return [Group(f.trajectory.question, tuple(found[i * k : (i + 1) * k])) for i, f in enumerate(forks)]


@dataclass
class Play:
    """One step's chance to play: whoever collects rollouts or continues them asks this, and it counts them."""

    make_env: MakeEnv
    actor: Actor
    questions: Sequence[Question]
    """Those of the step."""
    group: int
    """Rollouts per question."""
    seed: int
    """Of the step: another one for each run, step and process."""
    step: int
    """Counted from 0."""
    more: Callable[[int], list[Question]] = lambda _: []
    """Other questions, as many as the step has, another lot for each number from 1."""
    clock: Clock = field(default_factory=Clock)
    spent: Spent = field(default_factory=Spent)
    calls: int = 0

    def collect(self, questions: Sequence[Question], group: int) -> list[Group]:
        """Play `group` episodes of each question; see `collect`."""
        found = collect(self.make_env, self.actor, questions, group, self._seed(), clock=self.clock)
        self.spent.add(found)
        return found

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play each fork to its end `k` times; see `continue_from`."""
        found = continue_from(self.make_env, self.actor, forks, k, self._seed(), greedy, self.clock)
        self.spent.add(found, [f.turn for f in forks])
        return found

    def _seed(self) -> int:
        """Return the step's seed at first, then others, drawn from it."""
        self.calls += 1
        return self.seed if self.calls == 1 else Random(f"{self.seed}/{self.calls}").getrandbits(32)


class Rollouts(Component):
    """How a step's rollouts come about."""

    family: ClassVar[str] = "rollouts"

    @abstractmethod
    def collect(self, play: Play) -> list[Group]:
        """Return as many groups as there are `play.questions`, at least one trajectory in each.

        A group is of one question: one of these, or one that `play.more` gave.
        """


def play(
    env: SearchVectorEnv,
    actor: Actor,
    texts: Sequence[str],
    clock: Clock,
    pasts: Sequence[Sequence[Segment]] | None = None,
) -> list[Trajectory]:
    """Play every episode of an environment to its end and return its trajectory.

    `texts` is what the episodes show now. `pasts`, for episodes in their middle, holds all that was recorded of each,
    what it shows now included.
    """
    segments = [list(past[:-1]) for past in pasts] if pasts else [[] for _ in texts]
    live = list(range(len(texts)))
    while live:
        since = time.perf_counter()
        steps = actor.resume(live, pasts) if pasts else actor.act(live, [texts[i] for i in live])
        pasts = None
        clock.time("generate", since)
        actions = [""] * len(segments)
        for i, (context, action) in zip(live, steps, strict=True):
            segments[i].append(context)
            if action is None:
                env.end(i, "context_full")
            else:
                segments[i].append(action)
                actions[i] = action.text
        since = time.perf_counter()
        texts, _, _, _, _ = env.step(actions)
        clock.time("retrieve", since)
        live = [i for i in live if env.episodes[i].stop_reason is None]
    return [trajectory(env, i, own) for i, own in enumerate(segments)]


def bearable(groups: Sequence[Group], most: float) -> None:
    """Raise `RetrieverUnavailable` when outages ended more than the share `most` of the episodes; it says why."""
    episodes = [t for g in groups for t in g.trajectories]
    lost = [t for t in episodes if t.lost]
    if len(lost) > most * len(episodes):
        raise RetrieverUnavailable(
            f"the retriever failed in {len(lost) / len(episodes):.0%} of the episodes "
            f"(train.max_outage_rate is {most:.0%}): {lost[-1].outage}"
        )


def blank(turn: Turn) -> bool:
    """Say whether a search asked for nothing: without a letter or digit, or so blank that the protocol refused it."""
    return turn == Turn("invalid", "empty search") or (turn.kind == "search" and not any(map(str.isalnum, turn.text)))


def trajectory(env: SearchVectorEnv, index: int, segments: Sequence[Segment]) -> Trajectory:
    """Record the finished episode `index` of an environment, with the figures that every report needs."""
    episode = env.episodes[index]
    question, turns = episode.question, tuple(episode.turns)
    answer = next((t.text for t in turns if t.kind == "answer"), None)
    gold, seen = set(question.gold), {h for t in turns for h in t.hits}
    queries = [t.text for t in turns if t.kind == "search"]
    metrics = {
        "exact_match": exact_match(answer, question.answers),
        "f1": f1(answer, question.answers),
        "searches": float(len(queries)),
        "repeated": float(len(queries) - len(set(queries))),
        "empty": float(sum(blank(t) for t in turns)),
        "invalid": sum(t.kind == "invalid" for t in turns) / max(1, len(turns)),
        "gold_recall": len(gold & seen) / len(gold) if gold else 0.0,
    }
    stop_reason = episode.stop_reason or ""
    return Trajectory(question, tuple(segments), turns, stop_reason, episode.reward, metrics, episode.outage)

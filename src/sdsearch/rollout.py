"""Play episodes: questions in, groups of trajectories out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sdsearch.envs.search import SearchVectorEnv
from sdsearch.metrics import exact_match, f1
from sdsearch.trajectory import Group, Segment, Trajectory
from sdsearch.types import Actor, Question

MakeEnv = Callable[[Sequence[Question]], SearchVectorEnv]
"""Makes an environment with one episode for each question."""


@dataclass
class Clock:
    """Seconds spent in each part of a run."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, part: str, since: float) -> None:
        """Add the time since `since` (of `time.perf_counter`) to a part."""
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - since


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
    clock = clock or Clock()
    asked = [q for q in questions for _ in range(group)]
    env = make_env(asked)
    texts, _ = env.reset(options={"questions": asked})
    actor.reset(asked, seed, greedy)
    segments: list[list[Segment]] = [[] for _ in asked]
    live = list(range(len(asked)))
    while live:
        since = time.perf_counter()
        steps = actor.act(live, [texts[i] for i in live])
        clock.time("generate", since)
        actions = [""] * len(asked)
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
    found = [trajectory(env, i, segments[i]) for i in range(len(asked))]
    return [Group(q, tuple(found[i * group : (i + 1) * group])) for i, q in enumerate(questions)]


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
        "invalid": sum(t.kind == "invalid" for t in turns) / max(1, len(turns)),
        "gold_recall": len(gold & seen) / len(gold) if gold else 0.0,
    }
    return Trajectory(question, tuple(segments), turns, episode.stop_reason or "", episode.reward, metrics)

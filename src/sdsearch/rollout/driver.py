"""Agent and environment, turn by turn: every episode of an environment is played to its end and recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sdsearch.contracts.agent import AgentSession
from sdsearch.core.answers import exact_match, f1
from sdsearch.core.trajectory import Segment, Trajectory, Turn
from sdsearch.core.usage import Clock
from sdsearch.envs.search import SearchVectorEnv


def play(
    env: SearchVectorEnv,
    session: AgentSession,
    texts: Sequence[str],
    clock: Clock,
    pasts: Sequence[Sequence[Segment]] | None = None,
) -> list[Trajectory]:
    """Play every episode of an environment to its end and return its trajectory.

    `texts` is what the episodes show now. `pasts`, for episodes in their middle, holds all that was recorded of each,
    what it shows now included. Each turn is one call of the session for all live episodes and one retrieval batch; a
    `context_full` episode ends before its next action.
    """
    segments = [list(past[:-1]) for past in pasts] if pasts else [[] for _ in texts]
    live = list(range(len(texts)))
    while live:
        since = time.perf_counter()
        replies = session.resume(live, pasts) if pasts else session.act(live, [texts[i] for i in live])
        pasts = None
        clock.time("generate", since)
        actions = [""] * len(segments)
        for i, (context, action) in zip(live, replies, strict=True):
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
    return [trajectory(env, i, parts) for i, parts in enumerate(segments)]


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

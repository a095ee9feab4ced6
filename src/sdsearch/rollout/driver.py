"""Agent and environment, turn by turn: every episode of an environment is played to its end and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sdsearch.contracts.agent import AgentSession, Reply
from sdsearch.contracts.environment import FINAL, TextVectorEnv
from sdsearch.core.number import LARGEST, number, shown
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment, Trajectory, Turn
from sdsearch.core.usage import Clock
from sdsearch.errors import ComponentError


def play(
    env: TextVectorEnv,
    session: AgentSession,
    questions: Sequence[Question],
    texts: Sequence[str],
    clock: Clock,
    pasts: Sequence[Sequence[Segment]] | None = None,
) -> list[Trajectory]:
    """Play every episode of an environment to its end and return its trajectory.

    `questions` are what they are about, `texts` what they show now. `pasts`, for episodes in their middle, holds all
    that was recorded of each, what it shows now included. Each turn is one call of the session for all live episodes
    and one step of the environment; an episode without room, or whose agent cannot be reached, ends before its next
    action. Raises `ComponentError` when the environment does not keep to `TextVectorEnv`.
    """
    count = len(questions)
    segments = [list(past[:-1]) for past in pasts] if pasts else [[] for _ in questions]
    replies: list[list[Reply]] = [[] for _ in questions]
    rewards, records = np.zeros(count), dict[int, Mapping[str, Any]]()
    live = list(range(count))
    while live:
        since = time.perf_counter()
        rows = list(live)
        acted = session.resume(rows, pasts) if pasts else session.act(rows, [texts[i] for i in live])
        pasts = None
        clock.time("generate", since)
        actions, ended = [""] * count, []
        for i, reply in zip(live, acted, strict=True):
            segments[i].append(reply.context)
            replies[i].append(reply)
            if reply.action is None:
                env.end(i, "model_unavailable" if reply.outage else "context_full")
                ended.append(i)
            else:
                segments[i].append(reply.action)
                actions[i] = reply.action.text
        since = time.perf_counter()
        texts, paid, terminated, truncated, infos = shaped(env.step(actions), count)
        clock.time("retrieve", since)
        rewards += paid
        over = terminated | truncated
        if going := [i for i in ended if not over[i]]:
            raise ComponentError(f"the environment goes on with the episodes {going}, expected `end` to end them")
        records |= {i: final(infos, i) for i in live if over[i]}
        live = [i for i in live if not over[i]]
    return [
        trajectory(question, segments[i], replies[i], float(rewards[i]), records[i])
        for i, question in enumerate(questions)
    ]


def trajectory(
    question: Question, segments: Sequence[Segment], replies: Sequence[Reply], reward: float, record: Mapping[str, Any]
) -> Trajectory:
    """Record a finished episode. `replies` are those of its last turns, which were played just now."""
    outage = "".join(reply.outage for reply in replies) or record["outage"]
    figures = dict[str, float]()
    for name, value in (item for reply in replies for item in reply.figures.items()):
        figures[name] = figures.get(name, 0.0) + value
    replies = [reply for reply in replies if reply.action]
    turns = list(record["turns"])
    if (actions := sum(s.role == "model" for s in segments)) != len(turns):
        raise ComponentError(f"the environment reports {len(turns)} turns of {actions} actions, expected one for each")
    first = len(turns) - len(replies)
    turns[first:] = [
        replace(turn, finish_reason=reply.finish_reason, version=reply.version)
        for turn, reply in zip(turns[first:], replies, strict=True)
    ]
    return Trajectory(
        question,
        tuple(segments),
        tuple(turns),
        record["stop_reason"],
        reward,
        {name: number(value) or 0.0 for name, value in {**record["metrics"], **figures}.items()},
        outage,
    )


def final(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Return what the infos of a vector environment say of an episode that has ended.

    Raises `ComponentError` when something is missing or is not what `FINAL` says.
    """
    if not isinstance(infos, Mapping):
        raise ComponentError(f"the environment's step gave the infos {infos!r:.80}, expected a mapping")
    record = {key: value for key in FINAL if (value := info(infos, key, row)) is not ABSENT}
    if missing := [key for key in FINAL if key not in record]:
        raise ComponentError(
            f"the environment ended episode {row} without {', '.join(missing)} in its info, expected {', '.join(FINAL)}"
        )
    for key, (fits, expected) in EXPECTED.items():
        if not fits(record[key]):
            raise ComponentError(
                f"the environment ended episode {row} with {key} {shown(record[key])}, expected {expected}"
            )
    return record


def _turns(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(turn, Turn) for turn in value)


EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "turns": (_turns, "a list or tuple of `Turn`s"),
    "stop_reason": (lambda reason: isinstance(reason, str) and reason != "", "a text that is not empty"),
    "outage": (lambda outage: isinstance(outage, str), "a text"),
    "metrics": (
        lambda found: isinstance(found, Mapping) and all(number(value) is not None for value in found.values()),
        "finite numbers by name",
    ),
}
"""What each part of a record has to be."""


ABSENT = object()


def info(infos: Mapping[str, Any], key: str, row: int) -> Any:
    """Return what infos have under a key for one episode: Gymnasium keeps a column of values, and where they are."""
    column = infos.get(key)
    if isinstance(column, Mapping):
        return {inner: value for inner in column if (value := info(column, inner, row)) is not ABSENT}
    there = infos.get(f"_{key}")
    return ABSENT if column is None or there is None or not there[row] else column[row]


def all_texts(given: Any, count: int) -> bool:
    """Say whether this is a text for each of `count` episodes."""
    return isinstance(given, list | tuple) and len(given) == count and all(isinstance(text, str) for text in given)


def shaped(given: Any, count: int) -> Any:
    """Return what `step` gave, numbers and flags as arrays.

    Raises `ComponentError` unless it is five things: texts, finite rewards and two kinds of flags, one for each
    episode, and infos. A reward that is no number would pass through credit and loss into the weights.
    """
    if not isinstance(given, tuple) or len(given) != 5:
        raise ComponentError(
            f"the environment's step gave {given!r:.80}, expected observations, rewards, terminations, truncations "
            "and infos"
        )
    texts, paid, *ends, infos = given
    if not all_texts(texts, count):
        raise ComponentError(f"the environment's step gave the observations {texts!r:.80}, expected {count} texts")
    several = getattr(paid, "tolist", lambda: paid)()
    rewards = [number(each) for each in several] if isinstance(several, list | tuple) else []
    if len(rewards) != count or None in rewards:
        raise ComponentError(
            f"the environment's step gave the rewards {shown(several)}, expected {count} finite numbers of at most "
            f"{LARGEST:g}"
        )
    terminated, truncated = flags = [np.asarray(part) for part in ends]
    for name, each in zip(("terminations", "truncations"), flags, strict=True):
        if each.shape != (count,) or each.dtype != np.bool_:
            raise ComponentError(
                f"the environment's step gave the {name} {each.tolist()!r:.80}, expected {count} booleans"
            )
    return texts, np.array(rewards, np.float64), terminated, truncated, infos

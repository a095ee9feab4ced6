"""What the episodes of a step look like: their contrast, their queries, their lengths.

A reward curve shows that a policy went wrong, these figures show how: it asks the same thing again, writes ever longer
turns, or plays every episode of a question alike. In long runs on search agents the thinking degenerates before the
score does ("Search-R1, re-examined", 2026), into loops or to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.trajectory import Group, Span, Trajectory

N = 4
"""Tokens that are looked for again, in a row (seq-rep-4 of Welleck et al., 1908.04319)."""


def behaviour(groups: Sequence[Group]) -> dict[str, float]:
    """Return the figures of at least one group; episodes that an outage ended are left out.

    "homogeneous": share of groups whose rewards are all the same, which have no contrast and no group credit;
    "repeated_queries", "empty_queries": shares of all queries: those asked before in the same episode, those without a
    letter or digit (a query that the protocol finds blank is an invalid action);
    "tokens", "model_tokens", "turns": per episode: all tokens of its context, those that were sampled, its actions;
    "thought_tokens", per turn: the sampled tokens that are thought;
    "thought_repetition": the share of the runs of 4 tokens in an episode's thoughts that stand in them before, its mean
    over the episodes that have thoughts so long; left out where fewer than half have, whose thoughts are slips;
    "entropy", in nats: the mean of -log p over the sampled tokens, an unbiased estimate of the sampler's mean entropy
    over all groups, those without contrast included; left out where nothing was sampled.
    """
    kept = [t for g in groups for t in g.kept]
    queries = [t.queries for t in kept]
    sampled = [p for t in kept for s in t.actions for p in s.logprobs]
    asked = max(1, sum(map(len, queries)))
    return {
        "homogeneous": sum(not g.mixed for g in groups) / len(groups),
        "repeated_queries": sum(len(q) - len(set(q)) for q in queries) / asked,
        "empty_queries": sum(not any(map(str.isalnum, text)) for q in queries for text in q) / asked,
        **lengths(kept),
        **thinking(kept),
        **({"entropy": -sum(sampled) / len(sampled)} if sampled else {}),
    }


def lengths(kept: Sequence[Trajectory]) -> dict[str, float]:
    """Return means over episodes; zeros for none."""
    count = max(1, len(kept))
    return {
        "tokens": sum(len(t.tokens) for t in kept) / count,
        "model_tokens": sum(t.sampled for t in kept) / count,
        "turns": sum(len(t.turns) for t in kept) / count,
    }


def thinking(kept: Sequence[Trajectory]) -> dict[str, float]:
    """Return how long thoughts are and how much they repeat themselves; see `behaviour`."""
    thoughts = [
        [[token for token, span in zip(a.tokens, a.spans, strict=True) if span == Span.THINK] for a in t.actions]
        for t in kept
    ]
    every = [thought for of_episode in thoughts for thought in of_episode]
    runs = [[tuple(each[i : i + N]) for each in own for i in range(len(each) - N + 1)] for own in thoughts]
    shares = [1 - len(set(own)) / len(own) for own in runs if own]
    return {
        "thought_tokens": sum(map(len, every)) / max(1, len(every)),
        **({"thought_repetition": sum(shares) / len(shares)} if 2 * len(shares) >= max(1, len(kept)) else {}),
    }


def credited(parts: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Return "credited", the share of sampled tokens that some credit spoke of (not NaN); none for no tokens."""
    count = sum(map(len, parts))
    return {"credited": 1 - sum(int(np.isnan(part).sum()) for part in parts) / count} if count else {}


def zero(parts: Sequence[NDArray[np.float64]]) -> float:
    """Return the share of the tokens that a credit speaks of (not NaN) to which it gives 0; NaN for none."""
    known = sum(int((~np.isnan(part)).sum()) for part in parts)
    return sum(int((part == 0).sum()) for part in parts) / known if known else float("nan")

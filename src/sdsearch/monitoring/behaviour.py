"""What the episodes of a step look like: their contrast, their queries, their lengths.

A reward curve shows that a policy went wrong, these figures show how: it asks the same thing again, writes ever longer
turns, or plays every episode of a question alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.trajectory import Group, Trajectory


def behaviour(groups: Sequence[Group]) -> dict[str, float]:
    """Return the figures of at least one group; episodes that an outage ended are left out.

    "homogeneous": share of groups whose rewards are all the same, which have no contrast and no group credit;
    "repeated_queries", "empty_queries": shares of all queries: those asked before in the same episode, those without a
    letter or digit (a query that the protocol finds blank is an invalid action);
    "tokens", "model_tokens", "turns": per episode: all tokens of its context, those that were sampled, its actions;
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


def credited(parts: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Return "credited", the share of sampled tokens that some credit spoke of (not NaN); none for no tokens."""
    count = sum(map(len, parts))
    return {"credited": 1 - sum(int(np.isnan(part).sum()) for part in parts) / count} if count else {}

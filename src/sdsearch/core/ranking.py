"""How good a ranking is: recall, reciprocal rank and nDCG of the passages that suffice, each of which counts alike.

The definitions are those of trec_eval with relevance 0 or 1: Järvelin and Kekäläinen, "Cumulated gain-based evaluation
of IR techniques" (2002), with the logarithm to base 2 of the rank plus one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log2


def recall(ranked: Sequence[str], gold: Collection[str], k: int) -> float:
    """Return the share of the ids `gold` among the first `k` of `ranked`. Raises `ValueError` without any gold."""
    wanted = required(gold)
    return len(wanted & {*ranked[:k]}) / len(wanted)


def reciprocal_rank(ranked: Sequence[str], gold: Collection[str], k: int) -> float:
    """Return 1 over the rank of the first gold id among the first `k`, 0 where there is none; see `recall`."""
    wanted = required(gold)
    return next((1 / rank for rank, name in enumerate(ranked[:k], 1) if name in wanted), 0.0)


def ndcg(ranked: Sequence[str], gold: Collection[str], k: int) -> float:
    """Return the discounted gain of the first `k`, as a share of what the best order of all gold has; see `recall`."""
    wanted = required(gold)
    gained = sum(discount(rank) for rank, name in enumerate(ranked[:k], 1) if name in wanted)
    return gained / sum(discount(rank) for rank in range(1, min(k, len(wanted)) + 1))


def discount(rank: int) -> float:
    """Return what a hit of a rank, counted from 1, is worth."""
    return 1 / log2(rank + 1)


def required(gold: Collection[str]) -> set[str]:
    """Return different ids, of which there is at least one."""
    if not gold:
        raise ValueError("got no gold passages, expected at least one: there is nothing to be found")
    return {*gold}

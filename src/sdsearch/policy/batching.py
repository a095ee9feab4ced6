"""Which sequences are run together: at most so many tokens at once, padding included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sdsearch.core.tokens import TokenTable

T = TypeVar("T")

Row = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""What is scored of one sequence: its prompt, the rest, and indices into the rest."""

SHARED = 64
"""From so many tokens on, what several rows begin with is run once: less is not worth a pass of its own."""


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ragged rows as a right-padded [B, S] tensor and its mask of ones and zeros."""
    width = max((len(r) for r in rows), default=0)
    tokens = torch.tensor([[*r, *[0] * (width - len(r))] for r in rows], device=device, dtype=torch.long)
    lengths = torch.tensor([len(r) for r in rows], device=device)
    return tokens.reshape(len(rows), width), (torch.arange(width, device=device) < lengths[:, None]).long()


def beginning(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the tokens that all of several rows begin with, and go on from; none if they are fewer than `SHARED`."""
    if len(rows) < 2:
        return ()
    low, high = min(rows), max(rows)  # what the first and the last in order share, all share
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(low[:-1], high[:-1], strict=False))
    shared = tuple(token for token, _ in pairs)
    return shared if len(shared) >= SHARED else ()


def packed(items: Iterable[T], length: Callable[[T], int], budget: int) -> Iterator[list[T]]:
    """Cut items into runs of at most `budget` tokens, every item padded to the longest of its run, in order."""
    run: list[T] = []
    width = 0
    for item in items:
        if run and (len(run) + 1) * max(width, length(item)) > budget:
            yield run
            run, width = [], 0
        run.append(item)
        width = max(width, length(item))
    if run:
        yield run


PRICE = 256
"""What one more run costs beside its tokens, in tokens: little, and not nothing."""


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Cut sequences into runs such that the tokens of all, padding included, and `PRICE` for each run are the fewest.

    Returns indices into `lengths`, the shortest first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    width = np.array([lengths[i] for i in order])
    # The least that the first n cost, and where the last run of these begins.
    least, begins = np.zeros(len(order) + 1), [0] * (len(order) + 1)
    for n in range(1, len(order) + 1):
        costs = least[:n] + (n - np.arange(n)) * width[n - 1] + PRICE
        begins[n] = int(costs.argmin())
        least[n] = costs[begins[n]]
    runs, end = list[list[int]](), len(order)
    while end:
        runs.append(order[begins[end] : end])
        end = begins[end]
    return runs[::-1]


def row_batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Cut sequences into runs of at most `budget` padded tokens, in order."""
    return packed(rows, lambda row: len(row[0]) + len(row[1]), budget)


def table_batches(table: TokenTable, needed: Tensor, budget: int) -> list[Tensor]:
    """Cut the trajectories of needed rows into micro-batches of at most `budget` padded tokens.

    Each is an index into the table, of all rows of its trajectories. Groups go in order of length, so that little is
    padded and prompts are shared.
    """
    length = {t: p[-1] + 1 for t, p in table.at(needed).positions().items()}
    longest: dict[int, int] = {}
    for t, tokens in length.items():
        longest[table.group_of[t]] = max(longest.get(table.group_of[t], 0), tokens)
    order = sorted(length, key=lambda t: (longest[table.group_of[t]], table.group_of[t], t))
    return [table.rows_of(run) for run in packed(order, length.__getitem__, budget)]

"""Clone a policy on played episodes: rows of tokens with a weight each, batches of like length, AdamW."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.policy.batching import packed, pad
from sdsearch.policy.policy import Policy
from sdsearch.terminal.progress import Bars
from sdsearch.warmstart.lessons import READ, WRITTEN, Piece
from sdsearch.warmstart.spec import Cloning


class Row(NamedTuple):
    """One training sequence: token ids and the weight of each in the loss."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


def row(policy: Policy, lesson: Sequence[Piece], read_weight: float) -> Row:
    """Tokenise a lesson piece by piece, as in play."""
    tokens = [policy.codec.encode(p.text) if i else policy.codec.prompt(p.text) for i, p in enumerate(lesson)]
    weight = {WRITTEN: 1.0, READ: read_weight}
    weights = [(weight[p.part],) * len(t) for p, t in zip(lesson, tokens, strict=True)]
    return Row(tuple(t for part in tokens for t in part), tuple(w for part in weights for w in part))


def clone(policy: Policy, stages: Sequence[Sequence[Row]], settings: Cloning, seed: int, bars: Bars) -> list[float]:
    """Train on the rows of one stage after the other, in bfloat16 where that is faster; return each batch's loss."""
    order = [[data[i] for i in batch] for data in stages for batch in batches(data, settings, seed)]
    model = policy.model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps=len(order), decay=settings.decay))
    task = bars.task("clone", len(order))
    losses = []
    for batch in order:
        tokens, _ = pad([row.tokens for row in batch], policy.device)
        width = tokens.shape[1]
        weights = torch.tensor([[*row.weights, *[0.0] * (width - len(row.weights))] for row in batch])
        with torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=halves(policy.device)):
            # No mask: padding is on the right, where nothing before it looks, and weighs nothing in the loss. Attention
            # that is only causal leaves out half of its work, where a mask that is given is gone through in full.
            loss = weighted(model(input_ids=tokens).logits, tokens, weights.to(tokens.device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        task.advance(note=f"loss {losses[-1]:.3f}")
    return losses


def rate(step: int, steps: int, decay: float) -> float:
    """Return the share of the learning rate in a step: a twentieth to rise, the last `decay` of the steps to fall."""
    rising = (step + 1) / (0.05 * steps)
    left = (steps - step) / (decay * steps) if decay else 1.0
    return min(1.0, rising) * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))


def halves(device: torch.device) -> bool:
    """Say whether a device multiplies bfloat16 itself; where it is made up of float32, as by AVX2, it is slower."""
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda"


def weighted(logits: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the next-token losses: logits [B, S, V], tokens and weights [B, S]."""
    rows, wanted = logits[:, :-1].reshape(-1, logits.shape[2]), tokens[:, 1:].reshape(-1)
    each = torch.nn.functional.cross_entropy(rows.float(), wanted, reduction="none")
    return (each * weights[:, 1:].reshape(-1)).sum() / weights[:, 1:].sum()


def batches(data: Sequence[Row], settings: Cloning, seed: int) -> list[list[int]]:
    """Cut rows into batches of like length within the token budget, in random order."""
    dice = random.Random(seed)
    order = sorted(range(len(data)), key=lambda i: (len(data[i].tokens), dice.random()))
    runs = list(packed(order, lambda i: len(data[i].tokens), settings.tokens_per_batch))
    dice.shuffle(runs)
    return runs

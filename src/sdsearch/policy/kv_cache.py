"""The running contexts of a batch: their key-value cache, which places of it are in use, and how long each row is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from sdsearch.contracts.engine import Weights
from sdsearch.policy.attention import Attention, branch
from sdsearch.policy.batching import beginning, pad


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer that writes into spare room, where the stock one copies the whole cache for every token."""

    spare: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append states [B, heads, S, dim] and return all of them, [B, heads, T + S, dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        total = used + key_states.shape[2]
        if self.spare is None or self.spare[0].shape[2] < total:
            batch, heads = key_states.shape[:2]
            room = total + max(64, total // 4)
            grown = tuple(s.new_empty(batch, heads, room, s.shape[3]) for s in (key_states, value_states))
            if used:
                assert self.keys is not None
                assert self.values is not None
                grown[0][:, :, :used], grown[1][:, :, :used] = self.keys, self.values
            self.spare = (grown[0], grown[1])
        self.spare[0][:, :, used:total], self.spare[1][:, :, used:total] = key_states, value_states
        self.keys, self.values = self.spare[0][:, :, :total], self.spare[1][:, :, :total]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep rows `indices` [B'] in that order."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys, self.values, self.spare = self.keys[indices], self.values[indices], None

    def take_in(self, other: GrowingLayer, index: Tensor, before: int) -> None:
        """Append what rows `index` [B'] of this layer, held by `other`, have beyond the place `before`."""
        assert self.keys is not None
        assert self.values is not None
        more = []
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            assert theirs is not None
            batch, heads, _, dim = mine.shape
            # Zeros, as what is masked is still multiplied by nothing, and memory may hold NaN.
            states = mine.new_zeros(batch, heads, theirs.shape[2] - before, dim)
            states[index] = theirs[:, :, before:]
            more.append(states)
        self.update(*more)

    def gather(self, places: Tensor) -> None:
        """Keep, in each row, the places [B, T'] in that order."""
        assert self.keys is not None
        assert self.values is not None
        heads, dim = self.keys.shape[1], self.keys.shape[3]
        self.keys = self.keys.gather(2, places[:, None, :, None].expand(-1, heads, -1, dim))
        heads, dim = self.values.shape[1], self.values.shape[3]
        self.values = self.values.gather(2, places[:, None, :, None].expand(-1, heads, -1, dim))
        self.spare = None


class Context:
    """The contexts of a batch of episodes, each of its own length, without padding between a row's own tokens.

    A place of the cache that a row does not use stays masked; positions are counted per row, so holes do not matter.
    """

    def __init__(self, policy: Weights) -> None:
        """Start empty. Raises `ModelError` for a model whose cache is not a plain list of past keys and values."""
        self.policy = policy
        self.cache = Attention(policy.model).cache(GrowingLayer)
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=policy.device)

    def _filled(self) -> list[GrowingLayer]:
        """Return the layers that hold something."""
        return [layer for layer in self.cache.layers if isinstance(layer, GrowingLayer) and layer.is_initialized]

    def keep(self, index: Sequence[int]) -> None:
        """Keep rows `index`, in that order."""
        if list(index) == list(range(len(self.mask))):
            return
        chosen = torch.tensor(list(index), device=self.policy.device)
        for layer in self._filled():
            layer.batch_select_indices(chosen)
        self.mask = self.mask[chosen]

    def extend(self, added: Sequence[Sequence[int]]) -> Tensor:
        """Run new tokens of every row; return the logits after the last, [B, V].

        At the start equal rows run once, and so does the beginning that all share, such as examples before a question.
        """
        rows = [tuple(a) for a in added]
        if len(self.mask):
            return self._run(rows)
        place = {row: i for i, row in enumerate(dict.fromkeys(rows))}
        index, distinct = [place[row] for row in rows], list(place)
        if shared := beginning(distinct):
            self._run([shared])
            self.keep([0] * len(distinct))
            distinct = [row[len(shared) :] for row in distinct]
        logits = self._run(distinct)
        self.keep(index)
        return logits[torch.tensor(index, device=logits.device)]

    def _run(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        """Run the tokens of each row after those that are held; return the logits after the last, [B, V]."""
        first = len(self.mask) == 0
        tokens, new = pad(rows, self.policy.device)
        before = new.new_zeros(len(rows), 1) if first else self.mask.sum(1, keepdim=True)
        self.mask = new if first else torch.cat([self.mask, new], 1)
        hidden = self.policy.hidden(tokens, self.mask, before + new.cumsum(1).sub(1).clamp_min(0), self.cache)
        last = hidden[torch.arange(len(rows), device=hidden.device), new.sum(1) - 1]
        return self.policy.project(last)

    def step(self, tokens: Tensor, live: Sequence[bool]) -> Tensor:
        """Run one token [B] in the rows that are live; return the logits after it, [B, V]."""
        positions = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, torch.tensor(live, device=self.mask.device).long()[:, None]], 1)
        return self.policy.project(self.policy.hidden(tokens[:, None], self.mask, positions, self.cache)[:, 0])

    def branch(self, rows: Sequence[int]) -> Context:
        """Return a context of some rows alone, in that order, to go on with; this one stays as it is until `join`."""
        index = torch.tensor(list(rows), device=self.policy.device)
        branched = copy.copy(self)
        branched.cache, branched.mask = branch(self.cache, index), self.mask[index]
        return branched

    def join(self, branched: Context, rows: Sequence[int]) -> None:
        """Take in what a branch of `rows` has read since."""
        before, read = self.mask.shape[1], branched.mask.shape[1]
        index = torch.tensor(list(rows), device=self.policy.device)
        for layer, other in zip(self._filled(), branched._filled(), strict=True):
            layer.take_in(other, index, before)
        more = self.mask.new_zeros(len(self.mask), read - before)
        more[index] = branched.mask[:, before:]
        self.mask = torch.cat([self.mask, more], 1)

    def squeeze(self, holes: float) -> None:
        """Move each row's tokens together when more than the share `holes` of the places is unused."""
        width = int(self.mask.sum(1).max())
        if self.mask.shape[1] and width < (1 - holes) * self.mask.shape[1]:
            places = self.mask.argsort(dim=1, descending=True, stable=True)[:, :width]
            for layer in self._filled():
                layer.gather(places)
            self.mask = self.mask.gather(1, places)

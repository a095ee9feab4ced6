"""What the layers of a model attend to, told by position: windows and chunks, wherever in the cache a token lies.

A model of the transformers library counts its window in places of the cache. Ours has holes (see `kv_cache`), so that
places are no positions: where a window can bite, masks are made here, and the model takes them as they are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from sdsearch.errors import ModelError

WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of layers that see a part of what is before them, as transformers names them, and where that part is said."""
FULL = "full_attention"
SWITCHES = {"longrope": "original_max_position_embeddings"}
"""Kinds of rotary embedding that take another table for longer sequences, and where it is said from which length on.

A sequence that grows past it has been read with two tables, and one that is read afresh with one."""
LIMITS = {"floor_scale", "keep_window_size"}
"""Numbers of places from which on a model counts places, where ours have holes: what it scales (Llama 4) or keeps
(Doge) by them."""
UNKNOWN = re.compile(r"(^|_)(window|local|chunk|floor|block)(_|$)")
KNOWN = re.compile(r"layers|experts|num_|multiple|mamba|ssm|conv|pattern|feed_forward|audio|vision")
"""Names of whole numbers that may be windows of another kind, and of those that are not."""
LONGEST = 512
"""A sequence that meets an unknown window is run when a model is loaded if it has at most so many tokens."""


class Attention:
    """The layers of a model: their kinds, the masks they need, and the length up to which they can be run."""

    def __init__(self, model: Any) -> None:
        """Read the model's configuration.

        Raises `ModelError` for layers whose past is not a list of keys and values: a recurrent state has read the
        padding of its batch, and nothing can be taken out of it again.
        """
        self.name = type(model).__name__
        self.config = model.config.get_text_config(decoder=True)
        try:
            layers = DynamicCache(config=model.config).layers
        except (KeyError, AttributeError, TypeError, ValueError, NotImplementedError) as error:
            raise ModelError(
                f"{self.name} does not say what its layers keep of the past ({type(error).__name__}: {error}): "
                "expected attention in every layer"
            ) from error
        self.kinds = [(type(layer).__name__, isinstance(layer, DummyLayer)) for layer in layers]
        self.kept = [not isinstance(layer, DummyLayer) for layer in layers]
        if other := {type(layer) for layer in layers} - {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}:
            raise ModelError(
                f"{self.name} keeps {', '.join(sorted(kind.__name__ for kind in other))}: expected keys and values of "
                "every layer, and no recurrent, convolutional or compressed state, which holds the padding of a batch "
                "for good"
            )
        self.listed: list[str] | None = getattr(self.config, "layer_types", None)
        sliding = any(isinstance(layer, DynamicSlidingWindowLayer) for layer in layers)
        kinds = set(self.listed or ()) or {kind for kind, at in WINDOWS.items() if getattr(self.config, at, None)}
        self.windows = {kind: at for kind, at in WINDOWS.items() if sliding and kind in kinds}
        local = getattr(self.config, "attention_layers", None)
        if isinstance(local, list) and "local" in local:
            raise ModelError(
                f"{self.name} has layers of local attention that count places of the cache (attention_types), expected "
                "layers whose window is told by `sliding_window`"
            )

    @cached_property
    def limits(self) -> dict[str, int]:
        """How long a sequence may be, and by what; up to the least of these it is read the same way however it is cut.

        Empty where nothing bounds it.
        """
        most = getattr(self.config, "max_position_embeddings", None)
        limits = {"positions": most} if isinstance(most, int) and most > 0 else {}
        rope = getattr(self.config, "rope_parameters", None) or {}
        for part in (rope, *(p for p in rope.values() if isinstance(p, dict))):
            if at := SWITCHES.get(part.get("rope_type", "")):
                limits[f"positions before it takes another table ({at})"] = part.get(at) or getattr(self.config, at)
        if self.places is not None:
            limits["places that it reads in one way (a window of its own)"] = self.places
        return limits

    @cached_property
    def positions(self) -> int | None:
        """The least of the limits."""
        return min(self.limits.values(), default=None)

    @cached_property
    def places(self) -> int | None:
        """The most places of a cache, holes included, up to which their number changes nothing; None: any."""
        blocks = getattr(self.config, "index_topk_blocks", None)
        sparse = [blocks * self.config.index_block_size] if blocks else []
        return min([n - 1 for n in self._others.values() if n > LONGEST] + sparse, default=None)

    @property
    def least(self) -> int:
        """The tokens of a sequence that meets every window of a kind that is not known here."""
        return max((n for n in self._others.values() if n <= LONGEST), default=0)

    @cached_property
    def _others(self) -> dict[str, int]:
        """What may be windows, and are none of `WINDOWS`."""
        numbers = {n: v for n, v in self.config.to_dict().items() if isinstance(v, int) and v > 1}
        found = {n: v for n, v in numbers.items() if UNKNOWN.search(n) and not KNOWN.search(n)}
        return {n: v for n, v in found.items() if n not in WINDOWS.values()} | {
            n: v for n, v in numbers.items() if n in LIMITS
        }

    def cache(self, layer: type[DynamicLayer] = DynamicLayer) -> DynamicCache:
        """Return an empty cache that keeps all keys and values of every layer, in layers of a kind."""
        cache = DynamicCache()
        cache.layers = [layer() if kept else DummyLayer() for kept in self.kept]  # type: ignore[no-untyped-call]
        return cache

    @contextmanager
    def narrowed(self, width: int) -> Iterator[None]:
        """Let every window be of `width` tokens."""
        before = {at: getattr(self.config, at) for at in self.windows.values()}
        for at in before:
            setattr(self.config, at, width)
        try:
            yield
        finally:
            for at, was in before.items():
                setattr(self.config, at, was)

    def mask(self, mask: Tensor, count: int) -> Any:
        """Return the mask that the decoder is given for the last `count` of the places used in `mask`, [B, T].

        That is `mask` itself where no window is shorter than T, else one of [B, 1, count, T] for each kind of layer.
        """
        widths = {kind: getattr(self.config, at) for kind, at in self.windows.items()}
        if all(mask.shape[1] <= width for width in widths.values()):
            return mask
        position = mask.cumsum(1) - 1
        key, query = position[:, None, None, :], position[:, None, -count:, None]
        seen = (key <= query) & mask.bool()[:, None, None, :]
        masks = {FULL: seen}
        if width := widths.get("sliding_attention"):
            masks["sliding_attention"] = seen & (query - key < width)
        if chunk := widths.get("chunked_attention"):
            masks["chunked_attention"] = seen & (query // chunk == key // chunk)
        if self.config._attn_implementation != "sdpa":
            masks = {kind: self._added(each) for kind, each in masks.items()}
        if self.listed:
            return masks
        (kind,) = widths
        return masks[kind]

    def _added(self, mask: Tensor) -> Tensor:
        """Return a mask to add to the scores: 0 where a token is seen, else the lowest number."""
        dtype = self.config.dtype or torch.float32
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def branch(cache: DynamicCache, rows: Tensor) -> DynamicCache:
    """Return a cache of some rows [B'] of another, which stays as it is."""
    branched = copy.copy(cache)
    branched.layers = [copy.copy(layer) for layer in cache.layers]
    branched.batch_select_indices(rows)
    return branched

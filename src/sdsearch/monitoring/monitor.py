"""Limits of a run's figures, and the warnings when they are crossed: in words, once in a run for each figure.

A run that goes wrong is mostly seen in its figures many steps before its reward falls. What each limit means and what
to do about it stands in `advice.py`, the figures in `behaviour.py`, `drift.py` and `gradients.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fnmatch import filter as matching
from math import isfinite
from typing import Any, NamedTuple

from pydantic import Field

from sdsearch.config.component import Settings
from sdsearch.monitoring.advice import WATCHES, Watch


class Monitors(Settings):
    """When a run warns; null turns a warning off. What is measured is recorded all the same.

    No source gives such limits: the defaults are ours, each with its reason.
    """

    gradients_every: int = Field(10, ge=0)
    """Steps between measurements of each term's gradient norm, the first step included; 0: none. A measurement takes
    one more backward pass, and room for one more gradient, per term; with a single term it is free."""
    window: int = Field(10, ge=1)
    """Steps over which noisy figures are averaged. The first so many are "the start" that others are compared with."""
    drift_mean: float | None = Field(0.05, ge=0)
    """|log p now - log p sampled| before the first update, mean: a quarter of the usual clip range of 0.2."""
    drift_max: float | None = Field(2.0, ge=0)
    """The same for the worst token: rounding does not make one seven times as likely."""
    effective_share: float | None = Field(0.9, ge=0, le=1)
    """Least effective share of the sampled tokens at the last update; ratios from 0.8 to 1.2 leave at least 0.96."""
    credited: float | None = Field(0.01, ge=0, le=1)
    """Least share of sampled tokens that are credited at all; 0 is credit."""
    rows: float | None = Field(1.0, ge=0)
    """Fewest tokens that a term acts on in a step; below one it mostly acts on none."""
    entropy_low: float | None = Field(0.2, ge=0)
    """Least entropy, as a part of that at the start."""
    entropy_high: float | None = Field(2.0, ge=0)
    """Most entropy, as a multiple of that at the start."""
    entropy_gap: float | None = -0.1
    """Least entropy of the student minus that of its teacher, in nats; in the paper it falls from 0.25 to 0.065."""
    gradient_norm: float | None = Field(20.0, ge=0)
    """Most gradient norm of one update, before clipping, as a multiple of that at the start."""
    grad_ratio_low: float | None = Field(1e-3, ge=0)
    """Least norm of a hinted term's gradient divided by that of the policy gradient."""
    grad_ratio_high: float | None = Field(10.0, ge=0)
    """The most of it."""
    homogeneous: float | None = Field(0.9, ge=0, le=1)
    """Most share of groups without contrast: beyond it fewer than one rollout in ten teaches."""
    searches: float | None = Field(0.5, ge=0)
    """Fewest searches per episode."""
    repeated_queries: float | None = Field(0.3, ge=0, le=1)
    """Most share of queries that were asked before in the same episode."""
    empty_queries: float | None = Field(0.05, ge=0, le=1)
    """Most share of queries without a letter or digit."""
    invalid: float | None = Field(0.3, ge=0, le=1)
    """Most share of invalid actions."""
    model_tokens: float | None = Field(3.0, ge=0)
    """Most sampled tokens per episode, as a multiple of those at the start."""
    outage: float | None = Field(0.05, ge=0, le=1)
    """Most share of a step's episodes that the retriever may end; `train.max_outage_rate` stops the run."""
    retries: float | None = Field(1.0, ge=0)
    """Most repeated attempts at a retrieval per step."""


class Notice(NamedTuple):
    """A limit that was crossed."""

    limit: str
    """The field of `Monitors`."""
    figure: str
    value: float
    text: str


class Monitor:
    """Watches the lines of metrics.jsonl; a resumed run shows it the earlier ones again."""

    def __init__(self, limits: Monitors) -> None:
        """Take the limits."""
        self.limits = limits
        self.seen: defaultdict[str, list[float]] = defaultdict(list)
        self.raised: set[tuple[str, str]] = set()
        self.phase: int | None = None

    def check(self, metrics: Mapping[str, Any]) -> list[Notice]:
        """Take the next line of metrics and return what is to be said now; nothing for the line of an evaluation."""
        if "train" not in metrics:
            return []
        if metrics.get("phase") != self.phase:
            # Another objective: what the figures were at the start of the one before is no measure for them.
            self.seen.clear()
            self.raised.clear()
            self.phase = metrics.get("phase")
        figures = {**metrics["train"], **{f"retrieval/{k}": v for k, v in metrics.get("retrieval", {}).items()}}
        for name, value in figures.items():
            if isfinite(value):
                self.seen[name].append(value)
        candidates = [self.notice(w, name, figures[name]) for w in WATCHES for name in matching(figures, w.figure)]
        notices = [n for n in candidates if n and (n.limit, n.figure) not in self.raised]
        self.raised |= {(n.limit, n.figure) for n in notices}
        return notices

    def notice(self, watch: Watch, name: str, newest: float) -> Notice | None:
        """Return what to say about a figure when its limit is crossed."""
        limit: float | None = getattr(self.limits, watch.limit)
        if limit is None:
            return None
        count = watch.over or self.limits.window
        if not isfinite(newest):
            # A mean over no episodes is no number either, but nothing has gone wrong with it.
            text = f"{name} is {newest}, expected a finite number"
            return Notice(watch.limit, name, newest, f"{text}. {watch.advice}") if count == 1 else None
        value, start = self.mean(name, count), self.start(name) if watch.relative else 1.0
        if value is None or not start or not (value / start > limit if watch.above else value / start < limit):
            return None
        text = f"{name} is {value:.3g}" + (f", the mean of the last {count} values" if count > 1 else "")
        text += f", and was {start:.3g} at the start" if watch.relative else ""
        bound = f"{'at most' if watch.above else 'at least'} {limit:g}" + (" times that" if watch.relative else "")
        return Notice(watch.limit, name, value, f"{text}; expected {bound} (monitors.{watch.limit}). {watch.advice}")

    def mean(self, name: str, count: int) -> float | None:
        """Return the mean of the last `count` values, None while there are fewer."""
        values = self.seen[name][-count:]
        return sum(values) / count if len(values) == count else None

    def start(self, name: str) -> float | None:
        """Return the mean of the first window, None until it is over."""
        values = self.seen[name][: self.limits.window]
        return sum(values) / len(values) if len(self.seen[name]) > self.limits.window else None

"""The warnings of a run: when a limit is crossed, in words, once in a run for each figure.

A run that goes wrong is mostly seen in its figures many steps before its reward falls. What each limit means and what
to do about it stands in `advice.py`, the limits in `limits.py`, the figures in `behaviour.py`, `drift.py` and
`gradients.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fnmatch import filter as matching
from itertools import accumulate
from math import isfinite
from typing import Any, NamedTuple

from sdsearch.monitoring.advice import COLLAPSE, DEAF, IDLE, WATCHES, Watch
from sdsearch.monitoring.dead import dead
from sdsearch.monitoring.labels import Labels
from sdsearch.monitoring.limits import Monitors

FEWEST = 3
"""Steps that a collapse takes at least: one or two without any reward are chance."""
EXPECTED = 1.0
"""Rewards, added up over steps, that have to be expected before their absence means something: with eight groups a step
these are eight groups' worth, of which chance leaves none in one of three thousand times."""


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
        self.first: list[Mapping[str, float]] = []
        self.seen: defaultdict[str, list[float]] = defaultdict(list)
        self.raised: set[tuple[str, str]] = set()
        self.phase: int | None = None
        self.labels = Labels()

    def check(self, metrics: Mapping[str, Any]) -> list[Notice]:
        """Take the next line of metrics and return what is to be said now; nothing for the line of an evaluation."""
        if "train" not in metrics:
            return []
        if metrics.get("phase") != self.phase:
            # Another objective: what the figures were at the start of the one before is no measure for them.
            self.seen.clear()
            self.raised.clear()
            self.first = []
            self.labels = Labels()
            self.phase = metrics.get("phase")
        figures = {**metrics["train"], **{f"retrieval/{k}": v for k, v in metrics.get("retrieval", {}).items()}}
        for name, value in figures.items():
            if isfinite(value):
                self.seen[name].append(value)
        self.labels.see(metrics.get("labels", {}))
        candidates = [self.notice(w, name, figures[name]) for w in WATCHES for name in matching(figures, w.figure)]
        candidates += self.deaf() if "labels" in metrics else []
        candidates += [self.collapsed(), self.idle(), *self.dead(metrics["train"])]
        notices = [n for n in candidates if n and (n.limit, n.figure) not in self.raised]
        self.raised |= {(n.limit, n.figure) for n in notices if n.limit != "idle"}
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
        if value is None or not start or start < watch.least:
            return None
        if not (value / start > limit if watch.above else value / start < limit):
            return None
        text = f"{name} is {value:.3g}" + (f", the mean of the last {count} values" if count > 1 else "")
        text += f", and was {start:.3g} at the start" if watch.relative else ""
        bound = f"{'at most' if watch.above else 'at least'} {limit:g}" + (" times that" if watch.relative else "")
        return Notice(watch.limit, name, value, f"{text}; expected {bound} (monitors.{watch.limit}). {watch.advice}")

    def collapsed(self) -> Notice | None:
        """Return what to say when the reward of the last steps is next to nothing beside that of all before them.

        Steps are too few to tell as long as they would not have been expected to add up to `EXPECTED`.
        """
        limit, rewards = self.limits.collapse, self.seen["reward"]
        if limit is None:
            return None
        total = sum(rewards)
        for count, last in enumerate(accumulate(reversed(rewards[1:])), 1):
            before, mean = (total - last) / (len(rewards) - count), last / count
            if count < FEWEST or count * before < EXPECTED:
                continue
            if mean >= limit * before:
                return None
            text = f"reward is {mean:.3g}, the mean of the last {count} values, and was {before:.3g} before"
            bound = f"expected at least {limit:g} times that (monitors.collapse)"
            return Notice("collapse", "reward", mean, f"{text}; {bound}. {COLLAPSE}")
        return None

    def idle(self) -> Notice | None:
        """Return what to say when no update of the last steps was taken: after some, twice, four times as many, ..."""
        limit, taken = self.limits.idle, self.seen["applied"]
        count = next((i for i, share in enumerate(reversed(taken)) if share), len(taken))
        windows, rest = divmod(count, limit) if limit else (0, 1)
        if rest or not windows or windows & (windows - 1):
            return None
        return Notice("idle", "applied", 0.0, f"no update of the last {count} steps was taken (monitors.idle). {IDLE}")

    def dead(self, figures: Mapping[str, float]) -> list[Notice]:
        """Return what to say when the first steps of a run, or of a phase, have taught nothing."""
        if self.limits.dead is None or len(self.first) >= self.limits.dead:
            return []
        self.first.append(figures)
        text = dead(self.first) if len(self.first) == self.limits.dead else None
        return [Notice("dead", "reward", figures.get("reward", 0.0), text)] if text else []

    def deaf(self) -> list[Notice]:
        """Return what to say of teachers that do not read what they are shown."""
        least = self.limits.label_effect
        return [
            Notice(
                "label_effect",
                f"{name}/label_effect",
                effect.value,
                f"{name}/label_effect is {effect.value:.3g} nats a query, with an interval from {effect.low:.3g} to "
                f"{effect.high:.3g} over {len(self.labels.groups[name])} groups; expected one above 0 "
                f"(monitors.label_effect). {DEAF}",
            )
            for name, effect in (self.labels.deaf(least) if least else {}).items()
        ]

    def mean(self, name: str, count: int) -> float | None:
        """Return the mean of the last `count` values, None while there are fewer."""
        values = self.seen[name][-count:]
        return sum(values) / count if len(values) == count else None

    def start(self, name: str) -> float | None:
        """Return the mean of the first window, None until it is over."""
        values = self.seen[name][: self.limits.window]
        return sum(values) / len(values) if len(self.seen[name]) > self.limits.window else None

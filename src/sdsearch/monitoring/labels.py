"""Does the teacher of a run read its hint? The label effects that steps have measured, put together.

A step measures a few groups (`sdsearch.learning.labels`) and writes for each a sum and a count of queries into its line
of metrics; what is said of the run is said of all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sdsearch.core.statistics import Estimate, ratio

Measured = Mapping[str, Sequence[tuple[float, float]]]
"""For each term or credit with a hint, for each group: the sum of its queries' effects in nats, and their number."""


class Labels:
    """The effects that a run has measured so far, by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self.groups: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    def see(self, measured: Measured) -> None:
        """Take what a step has measured."""
        for name, pairs in measured.items():
            self.groups[name] += [(float(total), float(count)) for total, count in pairs]

    def deaf(self, least: int) -> dict[str, Estimate]:
        """Return the effects of `least` groups or more whose intervals do not lie above 0."""
        enough = {name: pooled(pairs) for name, pairs in self.groups.items() if len(pairs) >= least}
        return {name: e for name, e in enough.items() if e.low is not None and e.low <= 0}


def pooled(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """Return the mean effect over the queries of some groups, in nats a query, with a t interval over the groups."""
    return ratio([total for total, _ in pairs], [count for _, count in pairs])


def ends(metrics: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Estimate, Estimate, int]]:
    """Return for each name the effect over the first and over the last third of its groups, and how many there are.

    `metrics` are the lines of metrics.jsonl.
    """
    labels = Labels()
    for line in metrics:
        labels.see(line.get("labels", {}))
    found = {}
    for name, pairs in labels.groups.items():
        third = max(1, len(pairs) // 3)
        found[name] = (pooled(pairs[:third]), pooled(pairs[-third:]), len(pairs))
    return found

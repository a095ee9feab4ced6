"""Play a fixed set of questions and say how it went."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.cost import Clock
from sdsearch.rollout import MakeEnv, bearable, collect
from sdsearch.trajectory import Group, Segment
from sdsearch.types import Actor, Question, Step

FIGURES = ("exact_match", "f1", "searches", "gold_recall", "invalid")
"""What every evaluation reports, in the order of its tables."""


def evaluate(
    make_env: MakeEnv,
    actor: Actor,
    questions: Sequence[Question],
    batch: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
    max_outage_rate: float = 1.0,
) -> list[Group]:
    """Play each question once, `batch` at a time; the same seed gives the same episodes. One group per question.

    Raises `RetrieverUnavailable` when outages ended more than the share `max_outage_rate` of the episodes so far.
    """
    groups: list[Group] = []
    for start in range(0, len(questions), batch):
        groups += collect(make_env, actor, questions[start : start + batch], 1, seed + start, greedy, clock)
        bearable(groups, max_outage_rate)
    return groups


def mean(groups: Sequence[Group]) -> dict[str, float]:
    """Return the mean of each figure over all episodes that an outage did not end, and the share that one did."""
    episodes = [t for g in groups for t in g.trajectories]
    kept = [t for t in episodes if not t.lost]
    names = kept[0].metrics if kept else FIGURES
    figures = {n: sum(t.metrics[n] for t in kept) / len(kept) if kept else float("nan") for n in names}
    figures["reward"] = sum(t.reward for t in kept) / len(kept) if kept else float("nan")
    figures["outage"] = 1 - len(kept) / len(episodes) if episodes else 0.0
    return figures


class Hinted:
    """An actor that is shown a hint before each prompt, as a teacher is: what does the hint make of the policy?"""

    def __init__(self, actor: Actor, hints: Sequence[str]) -> None:
        """Give row i the hint `hints[i]`."""
        self.actor, self.hints = actor, hints
        self.begun: set[int] = set()

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.begun = set()
        self.actor.reset(questions, seed, greedy)

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Step]:
        """Act once in each of `rows`."""
        shown = [t if r in self.begun else self.hints[r] + t for r, t in zip(rows, texts, strict=True)]
        self.begun.update(rows)
        return self.actor.act(rows, shown)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Step]:
        """Go on with recorded episodes, whose prompts hold their hints already."""
        self.begun.update(rows)
        return self.actor.resume(rows, pasts)

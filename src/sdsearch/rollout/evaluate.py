"""Play a fixed set of questions and say how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan

from sdsearch.contracts.agent import AgentSession
from sdsearch.contracts.environment import EnvFactory
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock
from sdsearch.rollout.collect import bearable, collect

FIGURES = ("exact_match", "f1", "searches", "gold_recall", "invalid", "no_answer")
"""What an evaluation of searches reports, in the order of its tables; other environments have figures of their own."""


def headline(figures: Mapping[str, float]) -> str:
    """Return the name of the figure that stands for an evaluation: the exact match, or else the reward."""
    return "exact_match" if "exact_match" in figures else "reward"


def whole(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of an evaluation, NaN for what searches are judged by and the data cannot say.

    Without gold passages there is no recall of them, which is another thing than a recall of 0.
    """
    return {**figures, **{f: float("nan") for f in FIGURES if "exact_match" in figures and f not in figures}}


def as_text(value: float, form: str = "{:.3f}") -> str:
    """Return a figure as a table shows it: a dash for NaN."""
    return "-" if value != value else form.format(value)


def evaluate(
    env_factory: EnvFactory,
    session: AgentSession,
    questions: Sequence[Question],
    batch: int,
    seed: int,
    greedy: bool = False,
    clock: Clock | None = None,
    max_outage_rate: float = 1.0,
) -> list[Group]:
    """Play each question once, `batch` at a time; the same seed gives the same episodes. One group per question.

    Raises `Unavailable` when outages ended more than the share `max_outage_rate` of the episodes so far.
    """
    groups: list[Group] = []
    for start in range(0, len(questions), batch):
        groups += collect(env_factory, session, questions[start : start + batch], 1, seed, greedy, clock)
        bearable(groups, max_outage_rate)
    return groups


def mean(groups: Sequence[Group]) -> dict[str, float]:
    """Return the mean of each figure over all episodes that an outage did not end, and the share that one did.

    A figure that some of them lack is the mean over those that have it; NaN where none is left.
    """
    episodes = [t for g in groups for t in g.trajectories]
    kept = [t for t in episodes if not t.lost]
    names = dict.fromkeys(n for t in episodes for n in t.metrics)
    figures = {n: _mean([t.metrics[n] for t in kept if n in t.metrics]) for n in names}
    figures["reward"] = _mean([t.reward for t in kept])
    figures["outage"] = 1 - len(kept) / len(episodes) if episodes else 0.0
    return figures


def sources(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of each source that questions name, in the order in which the sources come."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.question.source, []).append(group)
    return found


def by_source(groups: Sequence[Group]) -> dict[str, float]:
    """Return `mean`; of questions from several sources, such as benchmarks, the mean of the means of each.

    A large source then counts no more than a small one. Of each there is the headline alone, "exact_match/<source>".
    """
    means = {source: mean(some) for source, some in sources(groups).items()}
    if len(means) < 2:
        return mean(groups)
    names = dict.fromkeys(name for figures in means.values() for name in figures)
    known = {n: [f[n] for f in means.values() if not isnan(f.get(n, nan))] for n in names}
    total = {n: _mean(values) for n, values in known.items()}
    name = headline(total)
    return {**total, **{f"{name}/{source or 'other'}": f[name] for source, f in means.items() if name in f}}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")

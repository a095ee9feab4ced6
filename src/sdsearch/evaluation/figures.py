"""What episodes amount to: figures with their intervals, by test set, kind and number of hops, and over all sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sdsearch.core.answers import cover_exact_match
from sdsearch.core.statistics import Estimate, average, mean, share
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.rollout.evaluate import sources

LABELS = {
    "exact_match": "EM",
    "f1": "F1",
    "cover_exact_match": "cover-EM",
    "no_answer": "no answer",
    "searches": "searches",
    "model_tokens": "tokens",
    "gold_recall": "gold recall",
}
"""What an evaluation of searches is told in, in the order of its tables, and what they call it."""
SHARES = ("exact_match", "cover_exact_match", "no_answer")
"""Figures that are 0 or 1 in each episode."""
SINGLE = "test"
"""What a test set is called whose questions name no source."""


class Figure(NamedTuple):
    """The mean of something over questions, its 95 % interval, and over how many: not all need have it."""

    estimate: Estimate
    n: int

    def record(self) -> dict[str, float | int | None]:
        """Return it for JSON."""
        return {**self.estimate._asdict(), "n": self.n}


class Score(NamedTuple):
    """How an agent did on some questions."""

    questions: int
    lost: int
    """Episodes that an outage ended: they are in no figure."""
    figures: dict[str, Figure]

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        figures = {name: figure.record() for name, figure in self.figures.items()}
        return {"questions": self.questions, "outages": self.lost, "figures": figures}


class Scores(NamedTuple):
    """How an agent did: on each test set, by kind and by hops in it, and on the average of the sets."""

    sets: dict[str, Score]
    kinds: dict[str, dict[str, Score]]
    hops: dict[str, dict[str, Score]]
    macro: dict[str, Figure]
    """The mean of the sets that have a figure, each counted alike; `n` is how many these are."""

    @property
    def questions(self) -> int:
        """How many there are in all sets."""
        return sum(score.questions for score in self.sets.values())

    @property
    def values(self) -> dict[str, float]:
        """The figures as plain numbers: those of the only set, or else the mean of the sets."""
        return {name: figure.estimate.value for name, figure in self.macro.items()}

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "figures": self.values,
            "macro": {name: figure.record() for name, figure in self.macro.items()},
            "sets": {
                name: {
                    **score.record(),
                    "kinds": {kind: part.record() for kind, part in self.kinds[name].items()},
                    "hops": {count: part.record() for count, part in self.hops[name].items()},
                }
                for name, score in self.sets.items()
            },
        }


def of_episode(episode: Trajectory) -> dict[str, float]:
    """Return the figures of an episode: those of its environment, its reward, and for answers cover-EM.

    "model_tokens" is how many it sampled; an agent that hands over no tokens has no such figure.
    """
    known, figures = episode.metrics, {**episode.metrics, "reward": episode.reward}
    if "exact_match" in known:
        figures["cover_exact_match"] = cover_exact_match(episode.answer, episode.question.answers)
    if episode.tokens and "model_tokens" not in known:
        figures["model_tokens"] = float(episode.sampled)
    return figures


def of_question(group: Group) -> dict[str, float]:
    """Return the means over the episodes of a question that no outage ended; nothing where none is left."""
    every = [of_episode(t) for t in group.kept]
    names = dict.fromkeys(name for each in every for name in each)
    known = {name: [each[name] for each in every if name in each] for name in names}
    return {name: sum(values) / len(values) for name, values in known.items()}


def score(groups: Sequence[Group]) -> Score:
    """Return how an agent did on the questions of some groups."""
    every = [of_question(group) for group in groups]
    present = dict.fromkeys(name for each in every for name in each)
    names = [*(n for n in LABELS if n in present), *(n for n in present if n not in LABELS)]
    values = {name: [each[name] for each in every if name in each] for name in names}
    figures = {name: Figure(interval(name, known), len(known)) for name, known in values.items()}
    return Score(len(groups), sum(t.lost for g in groups for t in g.trajectories), figures)


def interval(name: str, values: Sequence[float]) -> Estimate:
    """Return the mean of one figure over questions, with Wilson's interval if it is a share, else a t interval."""
    return share(values) if name in SHARES and {0.0, 1.0}.issuperset(values) else mean(values)


def scores(groups: Sequence[Group]) -> Scores:
    """Return how an agent did on all test sets; the source of a question says of which set it is."""
    sets = {source or SINGLE: some for source, some in sources(groups).items()}
    each = {name: score(some) for name, some in sets.items()}
    kinds = {name: parted(some, lambda group: group.question.kind) for name, some in sets.items()}
    hops = {name: parted(some, lambda group: str(len(group.question.hops) or "")) for name, some in sets.items()}
    return Scores(each, kinds, hops, macro(each))


def parted(groups: Sequence[Group], of: Callable[[Group], str]) -> dict[str, Score]:
    """Return how an agent did on the groups of each word that `of` gives, in the order of the words; "" has none."""
    words = sorted({word for group in groups if (word := of(group))})
    return {word: score([group for group in groups if of(group) == word]) for word in words}


def macro(each: Mapping[str, Score]) -> dict[str, Figure]:
    """Return the mean over test sets of each figure; of one set its own figures."""
    if len(each) == 1:
        return dict(next(iter(each.values())).figures)
    names = dict.fromkeys(name for one in each.values() for name in one.figures)
    found = {name: [one.figures[name].estimate for one in each.values() if name in one.figures] for name in names}
    return {name: Figure(average(estimates), len(estimates)) for name, estimates in found.items()}

"""How good a spec's retriever is, without any agent: each question is asked as it is, as one query.

That is the field's baseline for search: what an agent's own queries find beyond it, the agent has earned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import nan
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from sdsearch.contracts.retrieval import Searcher
from sdsearch.core.answers import gives_away
from sdsearch.core.question import Hit, Question
from sdsearch.core.ranking import ndcg, recall, reciprocal_rank
from sdsearch.errors import SpecError
from sdsearch.retrieval.cached import Cached
from sdsearch.rollout.evaluate import as_text
from sdsearch.spec import Experiment
from sdsearch.terminal.progress import Bars

Figure = Callable[[Sequence[str], Sequence[str], int], float]
DEPTH = 10
"""Hits of a query that are looked at, or `top_k` where that is more."""
NO_GOLD = "its questions name no gold passages"
STRANGE = "no gold passage was found for any question: are its ids those of what is searched?"


@dataclass(frozen=True)
class Found:
    """What was found for the questions of one data set."""

    questions: int
    gold: int
    """Questions that name gold passages."""
    figures: dict[str, float]
    """Means over these, NaN where there are none, and `answer@k` over all."""
    remark: str = ""
    """Why figures are missing, or not to be trusted."""


@dataclass(frozen=True)
class Quality:
    """How good a retriever is on the data sets of an experiment."""

    name: str
    retriever: str
    data: dict[str, Found]
    """By the source of the questions, "" where they say none."""

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def show(self, console: Console) -> None:
        """Print a row for each data set, a dash where it has no figure, and below why."""
        names = list(next(iter(self.data.values())).figures)
        title = f"{self.name}: {self.retriever}, whole question as query"
        table = Table("data set", "questions", "with gold", *names, title=title)
        for source, one in self.data.items():
            cells = [as_text(one.figures[figure]) for figure in names]
            table.add_row(source or "-", str(one.questions), str(one.gold), *cells)
        console.print(table)
        for source, one in self.data.items():
            if one.remark:
                console.print(f"{source or 'the data set'}: {one.remark}", highlight=False, markup=False)


def quality(experiment: Experiment, console: Console) -> Quality:
    """Search for the test questions of an experiment and say what was found, with progress on a console.

    Raises `SpecError` for an environment without a retriever, `RetrieverUnavailable` when it cannot be asked.
    """
    environment = experiment.environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is nothing to judge")
    questions = experiment.held_out()
    searcher = Cached.opened(retriever, getattr(environment, "patience", None))
    with Bars(console) as bars:
        done = bars.task("searching", len(questions)).advance
        found = search(searcher, questions, getattr(environment, "top_k", 3), experiment.evaluate.batch, done)
    return Quality(experiment.name, retriever.type, found)


def search(
    searcher: Searcher, questions: Sequence[Question], top_k: int, batch: int, done: Callable[[int], Any] = int
) -> dict[str, Found]:
    """Ask questions as they are, `batch` at a time, and return what was found, by the source of the question.

    The figures: `recall@k` for the k of 1, `top_k` and the depth; `mrr` and `ndcg` at the depth; `answer@top_k`, the
    share of questions one of whose answers stands in a passage (Karpukhin et al., 2020, call it top-k accuracy).
    """
    depth = max(DEPTH, top_k)
    found: dict[str, list[tuple[Question, list[Hit]]]] = {}
    for start in range(0, len(questions), batch):
        some = questions[start : start + batch]
        for question, hits in zip(some, searcher.search([q.text for q in some], depth), strict=True):
            found.setdefault(question.source, []).append((question, hits))
        done(len(some))
    return {source: summed(pairs, top_k, depth) for source, pairs in found.items()}


def summed(found: Sequence[tuple[Question, list[Hit]]], top_k: int, depth: int) -> Found:
    """Return the figures of questions and what was found for each."""
    told = (any(gives_away(hit.passage.contents, q.answers) for hit in hits[:top_k]) for q, hits in found)
    ranked = [([hit.passage.id for hit in hits], q.gold) for q, hits in found if q.gold]

    def mean(figure: Figure, k: int) -> float:
        return fmean(figure(ids, gold, k) for ids, gold in ranked) if ranked else nan

    figures = {f"recall@{k}": mean(recall, k) for k in sorted({1, top_k, depth})}
    remark = NO_GOLD if not ranked else STRANGE if not figures[f"recall@{depth}"] else ""
    figures |= {f"mrr@{depth}": mean(reciprocal_rank, depth), f"ndcg@{depth}": mean(ndcg, depth)}
    return Found(len(found), len(ranked), {**figures, f"answer@{top_k}": fmean(told)}, remark)

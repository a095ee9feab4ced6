"""The tables: first evaluation against last, and time by part."""

import io
import math

from rich.console import Console

from sdsearch.report.table import outcome, show, split

FIGURES = {"exact_match": 0.25, "f1": 0.5, "searches": 2.0, "gold_recall": 0.75, "invalid": 0.0}
METRICS = [
    {"step": 0, "evaluate": FIGURES, "seconds": {"generate": 9.0}},
    {"step": 1, "train": {}, "seconds": {"generate": 1.0, "retrieve": 0.5, "train": 2.0, "step": 4.0}},
    {"step": 2, "train": {}, "seconds": {"generate": 3.0, "retrieve": 0.5, "score": 1.0, "train": 2.0, "step": 7.0}},
    {"step": 2, "evaluate": {**FIGURES, "exact_match": 0.75}, "seconds": {}},
]


def test_outcome_compares_the_first_and_the_last_evaluation() -> None:
    assert outcome(METRICS)[0] == ("exact match", 0.25, 0.75)
    assert [name for name, _, _ in outcome(METRICS)][1:] == [
        "F1", "searches per question", "recall of gold passages", "invalid rate"
    ]  # fmt: skip


def test_split_is_the_mean_over_steps_and_the_rest() -> None:
    parts = split(METRICS)
    assert {k: parts[k] for k in ("generate", "retrieve", "score", "train")} == {
        "generate": 2.0, "retrieve": 0.5, "score": 0.5, "train": 2.0
    }  # fmt: skip
    assert math.isclose(parts["other"], 5.5 - 5.0)


def test_both_tables_are_printed() -> None:
    out = io.StringIO()
    show(METRICS, Console(file=out, width=80))
    assert "+0.500" in out.getvalue()
    assert "generate" in out.getvalue()


def test_a_run_without_steps_shows_nothing_wrong() -> None:
    out = io.StringIO()
    show([], Console(file=out, width=80))
    assert out.getvalue() == ""

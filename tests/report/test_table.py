"""The tables: first evaluation against last, and time by part."""

import io
import math
from typing import Any

from rich.console import Console

from sdsearch.report.table import outcome, phase_ends, show, split

FIGURES = {"exact_match": 0.25, "f1": 0.5, "searches": 2.0, "gold_recall": 0.75, "invalid": 0.0, "no_answer": 0.125}
METRICS = [
    {"step": 0, "evaluate": FIGURES, "seconds": {"generate": 9.0}},
    {"step": 1, "train": {}, "seconds": {"generate": 1.0, "retrieve": 0.5, "train": 2.0, "step": 4.0}},
    {"step": 2, "train": {}, "seconds": {"generate": 3.0, "retrieve": 0.5, "score": 1.0, "train": 2.0, "step": 7.0}},
    {"step": 2, "evaluate": {**FIGURES, "exact_match": 0.75}, "seconds": {}},
]


def test_outcome_compares_the_first_and_the_last_evaluation() -> None:
    held_out = outcome(METRICS)
    assert held_out is not None
    assert held_out.when == ("before", "after")
    assert held_out.rows[0] == ("exact match", (0.25, 0.75))
    assert [name for name, _ in held_out.rows][1:] == [
        "F1", "searches per question", "recall of gold passages", "invalid rate",
        "no-answer rate"
    ]  # fmt: skip


def test_each_phase_has_a_column() -> None:
    evaluated = {0: 0.1, 2: 0.3, 3: 0.35, 5: 0.2}
    metrics: list[dict[str, Any]] = [{"step": s, "phase": 1 if s < 3 else 2, "train": {}} for s in range(1, 6)]
    metrics += [{"step": s, "evaluate": {**FIGURES, "exact_match": value}} for s, value in evaluated.items()]
    held_out = outcome(metrics)
    assert held_out is not None
    assert held_out.when == ("before", "phase 1", "phase 2")
    assert held_out.rows[0] == ("exact match", (0.1, 0.3, 0.2))
    assert phase_ends(metrics) == [(1, 2), (2, 5)]


def test_an_environment_has_figures_of_its_own() -> None:
    held_out = outcome([{"step": 0, "evaluate": {"reward": 0.5, "guesses": 3.0}}])
    assert held_out is not None
    assert held_out.rows == (("reward", (0.5, 0.5)), ("guesses", (3.0, 3.0)))


def test_a_figure_that_the_data_cannot_say_is_a_dash() -> None:
    without = {name: value for name, value in FIGURES.items() if name != "gold_recall"}
    out = io.StringIO()
    show([{"step": 0, "evaluate": without}], Console(file=out, width=80))
    (row,) = [line for line in out.getvalue().splitlines() if "recall of gold" in line]
    assert row.count(" - ") == 3
    assert "nan" not in out.getvalue()


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


def test_the_label_effect_is_told_before_and_after() -> None:
    measured = [{**METRICS[1], "labels": {"distill": [[n, 1.0], [n + 1, 1.0]]}} for n in (1, 4, 7)]
    out = io.StringIO()
    show([*METRICS, *measured], Console(file=out, width=100))
    (told,) = [line for line in out.getvalue().splitlines() if "distill" in line]
    assert "1.50 [" in told
    assert "7.50 [" in told
    assert " 6 " in told

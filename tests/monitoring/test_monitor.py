"""Warnings: each limit is crossed, said once and in words, and healthy figures stay silent."""

import random
import re
from collections.abc import Mapping, Sequence

import pytest

from sdsearch.config.component import Settings
from sdsearch.config.discovery import known
from sdsearch.contracts.engine import Sampling
from sdsearch.contracts.loss import Term
from sdsearch.envs.search import Search
from sdsearch.monitoring.advice import WATCHES
from sdsearch.monitoring.limits import Monitors
from sdsearch.monitoring.monitor import Monitor, Notice
from sdsearch.objectives.terms.distill import Distill
from sdsearch.spec import Train

HEALTHY = {
    "drift_mean": 0.004,  # as measured with bfloat16
    "drift_max": 0.1,
    "effective_share_last": 0.97,
    "credited": 1.0,
    "zero/group_mean": 0.6,
    "distill/rows": 150.0,
    "entropy": 0.2,
    "distill/entropy_gap": 0.03,
    "gradient_norm": 0.5,
    "grad_ratio/distill": 0.1,
    "homogeneous": 0.6,
    "searches": 2.7,
    "repeated_queries": 0.03,
    "empty_queries": 0.0,
    "invalid": 0.01,
    "model_tokens": 30.0,
    "thought_tokens": 12.0,
    "thought_repetition": 0.2,
    "outage": 0.0,
    "retrieval/retries": 0.0,
}

CROSSED = {
    "drift_mean": ("drift_mean", 0.06),
    "drift_max": ("drift_max", 2.1),
    "effective_share": ("effective_share_last", 0.85),
    "credited": ("credited", 0.0),
    "zero_credit": ("zero/group_mean", 1.0),
    "rows": ("distill/rows", 0.0),
    "entropy_low": ("entropy", 0.03),
    "entropy_high": ("entropy", 0.5),
    "entropy_gap": ("distill/entropy_gap", -0.2),
    "gradient_norm": ("gradient_norm", 11.0),
    "grad_ratio_low": ("grad_ratio/distill", 0.0001),
    "grad_ratio_high": ("grad_ratio/distill", 12.0),
    "homogeneous": ("homogeneous", 1.0),
    "searches": ("searches", 0.1),
    "repeated_queries": ("repeated_queries", 0.5),
    "empty_queries": ("empty_queries", 0.2),
    "invalid": ("invalid", 0.6),
    "model_tokens": ("model_tokens", 120.0),
    "thought_low": ("thought_tokens", 1.0),
    "thought_high": ("thought_tokens", 40.0),
    "thought_repetition": ("thought_repetition", 0.7),
    "outage": ("outage", 0.1),
    "retries": ("retrieval/retries", 4.0),
}


def line(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return a line of metrics.jsonl with these figures."""
    asked = {name.split("/")[1]: value for name, value in figures.items() if name.startswith("retrieval/")}
    return {"train": {k: v for k, v in figures.items() if not k.startswith("retrieval/")}, "retrieval": asked}


def said(monitor: Monitor, values: Sequence[float], name: str = "homogeneous") -> list[int]:
    """Show the values of one figure, a step each; return the steps, from 1, with a warning."""
    return [i for i, value in enumerate(values, 1) if monitor.check(line({name: value}))]


@pytest.mark.parametrize("limit", CROSSED)
def test_each_limit_warns_once_and_says_what_to_do(limit: str) -> None:
    name, bad = CROSSED[limit]
    monitor, off = Monitor(Monitors()), Monitor(Monitors.model_validate({limit: None}))
    steps = [HEALTHY] * 10 + [{**HEALTHY, name: bad}] * 30
    notices = [n for step in steps for n in monitor.check(line(step))]
    assert [(n.limit, n.figure) for n in notices] == [(limit, name)]
    (watch,) = [w for w in WATCHES if w.limit == limit]
    assert notices[0].text.startswith(f"{name} is ")
    assert f"monitors.{limit})" in notices[0].text
    assert notices[0].text.endswith(watch.advice)
    assert not [n for step in steps for n in off.check(line(step))]


def test_healthy_figures_stay_silent() -> None:
    monitor = Monitor(Monitors())
    wobble = [{name: value * (1 + 0.3 * (-1) ** step) for name, value in HEALTHY.items()} for step in range(100)]
    wobble = [{**figures, "effective_share_last": 0.97} for figures in wobble]
    assert [n for figures in wobble for n in monitor.check(line(figures))] == []


def test_every_limit_is_watched() -> None:
    # Of label effects tell `tests/monitoring/test_labels.py`, of dead runs `test_dead.py`.
    measured = {
        "dead",
        "gradients_every",
        "labels_every",
        "labels_groups",
        "label_effect",
        "window",
        "collapse",
        "idle",
    }
    limits = set(Monitors.model_fields) - measured
    assert limits == {w.limit for w in WATCHES} == set(CROSSED)


def test_advice_names_what_there_is() -> None:
    sections: dict[str, type[Settings]] = {"train": Train, "sampling": Sampling, "environment": Search}
    for watch in WATCHES:
        settings = re.findall(r"\b(train|sampling|environment)\.(\w+)", watch.advice)
        assert all(name in sections[section].model_fields for section, name in settings), watch.advice
        terms = re.findall(r"term `(\w+)`", watch.advice)
        assert set(terms) <= set(known(Term)), watch.advice
        figures = re.findall(r"figure `(\w+)`", watch.advice)
        assert set(figures) <= set(HEALTHY), watch.advice
        assert re.search(r"\. (Add|Check|Give|Look|Lower|Mend|Raise|Read|Take)\b", watch.advice), watch.advice
    assert Distill.model_validate({"hint": "hindsight", "gate": "mixed"}).gate == "mixed"


def test_noisy_figures_are_averaged() -> None:
    limits = Monitors(window=4)
    assert said(Monitor(limits), [1.0, 1.0, 1.0]) == []  # too early to tell
    assert said(Monitor(limits), [1.0, 0.5, 1.0, 1.0, 1.0]) == []  # means 0.875 and 0.875
    assert said(Monitor(limits), [0.5, 1.0, 1.0, 1.0, 0.75, 1.0, 1.0]) == [5]  # 0.875, then 0.9375
    assert said(Monitor(limits), [0.5, 0.5, 0.9, 0.9, 0.9, 0.9]) == []  # at the limit is not beyond it


def test_slips_of_a_policy_that_does_not_think_are_not_watched() -> None:
    for start, steps in ((3.9, []), (4.0, [4])):
        assert said(Monitor(Monitors(window=2)), [start, start, 0.1, 0.1, 0.1], "thought_tokens") == steps
        assert said(Monitor(Monitors(window=2)), [start, start, 20.0, 20.0], "thought_tokens") == steps


def test_some_figures_are_compared_with_the_start() -> None:
    monitor = Monitor(Monitors(window=2, entropy_high=1.4))
    assert said(monitor, [2.0, 4.0, 4.0], "entropy") == []  # start 3, mean 4
    (notice,) = monitor.check(line({"entropy": 5.0}))  # mean 4.5, one and a half times the start
    assert notice == Notice("entropy_high", "entropy", 4.5, notice.text)
    assert notice.text.startswith(
        "entropy is 4.5, the mean of the last 2 values, and was 3 at the start; expected at most 1.4 times that "
        "(monitors.entropy_high). The policy becomes unsure"
    )
    assert said(Monitor(Monitors(window=2)), [0.0, 0.0, 9.0, 9.0], "entropy") == []  # nothing to compare with


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_said_at_once(value: float) -> None:
    (notice,) = Monitor(Monitors()).check(line({"gradient_norm": value}))
    assert notice.text.startswith(f"gradient_norm is {value}, expected a finite number. One update's gradient exploded")
    assert said(Monitor(Monitors(window=2)), [1.0, float("nan"), 0.5, 1.0], "homogeneous") == []


def test_each_term_has_its_own_warning() -> None:
    monitor = Monitor(Monitors(window=1))
    notices = monitor.check(line({"distill/entropy_gap": -1.0, "distill_2/entropy_gap": -2.0, "kl/loss": -3.0}))
    assert [n.figure for n in notices] == ["distill/entropy_gap", "distill_2/entropy_gap"]


def test_another_phase_is_warned_of_again() -> None:
    monitor = Monitor(Monitors(window=1))
    lines = [{**line({"homogeneous": 1.0}), "phase": phase} for phase in (1, 1, 2, 2)]
    assert [len(monitor.check(each)) for each in lines] == [1, 0, 1, 0]


def test_evaluations_do_not_count() -> None:
    monitor = Monitor(Monitors(window=1))
    assert monitor.check({"step": 0, "evaluate": {"searches": 0.0}, "retrieval": {"retries": 9}}) == []
    assert [n.limit for n in monitor.check({"train": {"searches": 0.0}})] == ["searches"]


FALLS = [
    # (rewards, the step of the warning)
    ([0.25, 0, 0, 0, 0, 0], 5),
    ([0.25, 0.25, 0.25, 0, 0, 0, 0], 7),
    ([0.2, 0, 0.01, 0.02, 0, 0], 6),
    ([0.125] * 6 + [0] * 11, 14),  # the less there was, the longer it takes to tell
    ([0.5] * 30 + [0.04, 0.03, 0.02], 33),
    ([3.0, 0, 0, 0], 4),
    ([0.25, 0.25, 0, 0.25, 0, 0, 0.25], None),
    ([0.3, 0.2, 0.1, 0.08, 0.07, 0.06, 0.05], None),
    ([0.02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),  # was nothing before
    ([0] * 30, None),
    ([0, 0, 0, 0, 0.3, 0.4, 0.5], None),
    ([-1.0] * 5 + [-2.0] * 5, None),
]


@pytest.mark.parametrize(("rewards", "step"), FALLS)
def test_a_collapse_is_told_from_the_run_s_own_past(rewards: list[float], step: int | None) -> None:
    def warned(monitor: Monitor) -> list[int]:
        lines = ({"train": {"reward": reward}} for reward in rewards)
        return [i for i, each in enumerate(lines, 1) if [n for n in monitor.check(each) if n.limit == "collapse"]]

    assert warned(Monitor(Monitors())) == ([step] if step else [])
    assert warned(Monitor(Monitors(collapse=None))) == []


def test_chance_is_no_collapse() -> None:
    """Rewards that come and go, with eight groups a step that are each right at once or not at all."""
    dice = random.Random(0)
    wrong = 0
    for _ in range(100):
        monitor = Monitor(Monitors())
        steps = [sum(dice.random() < 0.25 for _ in range(8)) / 8 for _ in range(60)]
        wrong += any(monitor.check({"train": {"reward": reward}}) for reward in steps)
    assert wrong <= 3


def test_a_run_that_learns_nothing_says_so_again() -> None:
    monitor, lines = Monitor(Monitors(idle=3)), [0.0] * 30 + [1.0] + [0.0] * 4
    said = [i for i, applied in enumerate(lines, 1) if monitor.check({"train": {"applied": applied}})]
    assert said == [3, 6, 12, 24, 34]
    (notice,) = Monitor(Monitors(idle=1)).check({"train": {"applied": 0.0}})
    assert notice.text.startswith("no update of the last 1 steps was taken (monitors.idle). The run learns nothing")
    assert Monitor(Monitors(idle=None)).check({"train": {"applied": 0.0}}) == []

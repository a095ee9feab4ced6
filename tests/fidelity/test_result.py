"""What several runs say together, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from sdsearch.core.statistics import Estimate
from sdsearch.core.trajectory import kept
from sdsearch.errors import DataError
from sdsearch.fidelity.advantages import TrueAdvantages, estimate
from sdsearch.fidelity.candidates import candidates, credited
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.fidelity.result import Result, averaged, mean, several, together
from sdsearch.fidelity.scores import Scores

PROBLEM = SearchProblem()


def judged(seed: int, chosen: Sequence[str], skipped: Sequence[str] = ()) -> Result:
    """Judge some credits on the known problem, by few continuations."""
    groups = PROBLEM.groups(4, 4, seed=seed)
    told, _ = credited(candidates(None, chosen)[0], groups, ExactProbe(PROBLEM, seed))
    truth = estimate(groups, ExactProbe(PROBLEM, seed=11).continue_from, 4)
    about: dict[str, str | int | float] = {"run": f"runs/{seed}", "checkpoint": "step_9"}
    about |= {"questions": 4, "continuations": 100}
    return Result(about, groups, truth, told, dict.fromkeys(skipped, "why"))


def test_the_mean_and_its_interval_are_over_runs() -> None:
    one, two, three = (judged(seed, ["vine", "constant"]) for seed in (1, 2, 3))
    own = [j.scores["vine"].within.value for j in (one, two, three)]
    found = averaged([j.scores["vine"] for j in (one, two, three)])
    assert found.within.value == pytest.approx(np.mean(own))
    half = 4.302652729911275 * np.std(own, ddof=1) / 3**0.5  # t with two degrees of freedom
    assert (found.within.low, found.within.high) == pytest.approx(
        (found.within.value - half, found.within.value + half)
    )
    report = several([one, two, three])
    (vine,) = [row for row in report.rows if row[0] == "vine"]
    assert vine[1] == str(found.within)
    assert [row[0] for row in report.rows] == ["vine", "constant", "(a perfect credit, against these estimates)"]
    assert report.figures["run"] == "runs/1, runs/2, runs/3"
    assert report.figures["checkpoint"] == "step_9"
    assert (report.figures["questions"], report.figures["continuations"]) == (12, 300)
    assert "intervals over the 3 runs" in report.markdown()


def test_a_run_without_a_number_does_not_count() -> None:
    nothing = Estimate(np.nan, None, None)
    assert mean([Estimate(0.5, 0.1, 0.9), nothing]) == (0.5, None, None)
    assert np.isnan(mean([nothing, nothing]).value)
    half, whole = Estimate(0.5, 0.4, 0.6), Estimate(1.0, None, None)
    found = averaged([Scores(half, half, half, half, half, 0.5), Scores(whole, nothing, half, half, half, 1.0)])
    assert (found.within.value, found.queries.value, found.credited) == (0.75, 0.5, 0.75)


def test_only_what_every_run_judged_is_compared() -> None:
    report = several([judged(1, ["vine", "group_mean"]), judged(2, ["vine", "constant"], skipped=["group_mean"])])
    assert [row[0] for row in report.rows[:-1]] == ["vine"]
    assert report.skipped == {"group_mean": "why", "constant": "it was not judged in every run"}
    with pytest.raises(DataError, match="no credit was judged in every run"):
        several([judged(1, ["vine"]), judged(2, ["constant"])])


def test_figures_are_added_or_said_once() -> None:
    assert together("turns", [3, 4]) == 7
    assert together("seed", [0, 1]) == "0, 1"
    assert together("continuations of each state", [16, 16]) == 16


def test_advantages_that_are_known_leave_nothing_to_reach() -> None:
    groups = PROBLEM.groups(3, 3, seed=0)
    told, _ = credited(candidates(None, ["vine"])[0], groups, ExactProbe(PROBLEM, 0))
    truth = [TrueAdvantages.exact(PROBLEM.advantages(t)) for t in kept(groups)]
    assert len(Result({}, groups, truth, told, {}).report().rows) == 1

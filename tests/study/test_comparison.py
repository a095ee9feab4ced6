"""The figures of a study, by hand: records are written as a run writes them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from rich.console import Console

from sdsearch.config.load import load_any
from sdsearch.errors import SpecError, StudyError
from sdsearch.study.checklist import checklist, failures
from sdsearch.study.comparison import Comparison
from sdsearch.study.plots import curves, draw, finals
from sdsearch.study.primary import write_down
from sdsearch.study.progress import Board
from sdsearch.study.record import Record
from sdsearch.study.spec import Job, Study, jobs
from sdsearch.study.table import differences, document, runs, save

Write = Callable[..., Path]


def record(job: Job, judged: dict[int, float], steps: int, seconds: float = 1.0, tokens: int = 100) -> None:
    """Write metrics.jsonl: 6 rollouts a step, exact match at some steps; and leave a checkpoint of the last step."""
    lines = []
    for step in range(steps + 1):
        if step:
            spent = {"rollouts": 6.0 * step, "tokens": float(tokens * step), "seconds": seconds * step}
            retrieval = {"calls": 2, "outages": 1}
            lines.append({"step": step, "train": {}, "spent": spent, "retrieval": retrieval})
        if step in judged:
            figures = {"exact_match": judged[step], "no_answer": (1 - judged[step]) / 2}
            lines.append({"step": step, "evaluate": figures, "seconds": {"generate": 3600.0}})
    (job.experiment.folder / "checkpoints" / f"step_{steps}").mkdir(parents=True)
    (job.experiment.folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


@pytest.fixture
def found(study: Write) -> Comparison:
    """Return a study with seed 2 of `twin` failed."""
    loaded = load_any(study("pair", ("[0, 1]", "[0, 1, 2]"), ("rollouts: 16", "rollouts: 12"), ("[0.5]", "[0.5, 0.9]")))
    planned = {job.name: job for job in jobs(loaded)}
    record(planned["plain/0"], {0: 0.0, 2: 0.4}, 2)
    record(planned["plain/1"], {0: 0.2, 2: 0.6}, 2, seconds=2.0, tokens=200)
    record(planned["plain/2"], {0: 0.1, 1: 0.7, 2: 0.5}, 2)
    record(planned["twin/0"], {0: 0.0, 1: 0.8, 2: 0.8}, 2, seconds=3.0)
    record(planned["twin/1"], {0: 0.2, 2: 0.8}, 2, seconds=3.0)
    record(planned["twin/2"], {0: 0.1}, 1)
    assert isinstance(loaded.spec, Study)
    said = "exit code 1, after step 1; the end of x:\n  Traceback\n  boom"
    return Comparison(loaded.spec, list(planned.values()), {planned["twin/2"]: said})


def test_a_run_is_done_when_it_was_judged_and_saved_after_its_end(found: Comparison) -> None:
    assert [r.job.name for r in found.done] == ["plain/0", "plain/1", "plain/2", "twin/0", "twin/1"]
    (job,) = (j for j in found.jobs if j.name == "plain/0")
    path = job.experiment.folder / "metrics.jsonl"
    whole = path.read_text().splitlines(True)
    for cut in ("".join(whole[:-1]), "".join(whole)[:-1], ""):  # no last evaluation; a line half written; nothing
        path.write_text(cut)
        assert not Record.of(job).done
    path.write_text("".join(whole))
    assert Record.of(job).done
    (path.parent / "checkpoints" / "step_2").rmdir()  # killed between the two
    assert not Record.of(job).done
    assert failures(Comparison(found.study, [job], {job: "x"})).startswith("1 runs failed, 0 not run or not ended;")


def test_an_environment_without_exact_match_and_counters_is_compared_by_its_reward(found: Comparison) -> None:
    for job in found.jobs:
        path = job.experiment.folder / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "evaluate" in line:
                line["evaluate"] = {"tries": 3.0, "reward": line["evaluate"]["exact_match"], "outage": 0.0}
            else:
                line["retrieval"] = {}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = Comparison(found.study, found.jobs, found.failed)
    assert [record.final for record in other.arms["plain"].values()] == [0.4, 0.6, 0.5]
    assert "0 outages in 0 retrievals" in dict(checklist(other))["Failures and outages"]
    (row,) = (line for line in document(other).splitlines() if line.startswith("| plain | 3 of 3 | 0.500"))
    assert row.endswith("| - |"), "nobody knows of answers here"


def test_means_areas_and_costs(found: Comparison) -> None:
    exact_match, area = found.figures.values()
    assert [exact_match(r) for r in found.arms["plain"].values()] == [0.4, 0.6, 0.5]
    # Between evaluations it is linear: (0 + .4) / 2, (.2 + .6) / 2, ((.1 + .7) / 2 + (.7 + .5) / 2) / 2.
    assert [area(r) for r in found.arms["plain"].values()] == pytest.approx([0.2, 0.4, 0.5])
    mean = found.mean("plain", exact_match)
    assert mean is not None
    # A standard deviation of 0.1, over the root of 3, times t with 2 degrees of freedom, 4.3027.
    assert mean == pytest.approx((0.5, 0.5 - 0.24841, 0.5 + 0.24841), abs=1e-5)
    cost = found.cost("twin")
    assert cost is not None
    assert cost == pytest.approx((2.25, 2.25 - 12.7062 * 0.75, 2.25 + 12.7062 * 0.75), abs=1e-4)


def test_differences_are_paired_by_seed(found: Comparison) -> None:
    pair = found.pair("twin", "plain", "exact_match")
    assert pair is not None
    assert pair.seeds == 2
    # 0.2 and 0.4: half of their distance, times t with 1 degree of freedom.
    assert pair.difference == pytest.approx((0.3, 0.3 - 12.7062 * 0.1, 0.3 + 12.7062 * 0.1), abs=1e-4)
    both = {(p.arm, p.other): p.difference.value for p in found.pairs() if p.figure == "area"}
    assert both == {("twin", "plain"): pytest.approx(0.25), ("plain", "twin"): pytest.approx(-0.25)}


def test_a_target_that_is_never_reached_is_censored(found: Comparison) -> None:
    # Of `plain`, seed 0 never reaches .5; the others do after 2 steps and after 1.
    assert found.reached("plain", 0.5, "steps") == (2.0, 1.0, float("inf"))
    assert found.reached("plain", 0.5, "rollouts") == (12.0, 6.0, float("inf"))
    table = document(found)
    assert "| plain | 0.5 | 2 of 3 | 2 [1, not in 2] | 12 [6, not in 12] |" in table
    assert "| plain | 0.9 | 0 of 3 | not in 2 [not in 2, not in 2] | not in 12 [not in 12, not in 12] |" in table
    assert "| twin | 0.5 | 2 of 2 | 2 [1, 2] | 9 [6, 12] |" in table
    rows = {(r["arm"], r["seed"]): r for r in runs(found)}
    censored = rows["plain", 0]
    assert [censored[f"{k}_0.5"] for k in ("reached", "steps", "rollouts")] == [False, 2, 12.0]
    assert rows["twin", 2] == {
        **{"arm": "twin", "seed": 2, "state": "failed", "steps": 1},
        **{"rollouts": 6.0, "tokens": 100.0, "seconds": 1.0},
    }


def test_the_table_and_its_checklist(found: Comparison, tmp_path: Path) -> None:
    table = document(found)
    assert "5 of 6 runs are done. Each may cost 12 rollouts." in table
    assert "| twin | 2 of 3 | 0.800 [0.800, 0.800] |" in table
    # 0.3 / 0.1 and 0.25 / 0.15 with one degree of freedom: p = 1 - 2 / pi * atan(t).
    assert "| +0.300 [-0.971, +1.571] | 0.205 | +0.250 [-1.656, +2.156] | 0.344 | 0.100 [0.100, 0.100] |" in table
    assert "adjusted for the 1 comparisons with plain (Holm)" in table
    assert "No primary contrast was named" in table
    assert "- twin/2: exit code 1, after step 1; the end of x:" in table
    assert "boom" in table
    assert "Not matched" not in table
    items = {line.split("**")[1]: line for line in table.splitlines() if line[:1].isdigit() and "**" in line}
    assert len(items) == 16
    assert "3 (0, 1, 2), the same for every arm" in items["Seeds."]
    assert "Arms differ in" not in items["Seeds."]
    assert "2 or 3 a run" in items["Evaluations."]
    # Areas of twin: (.4 + .8) / 2 and .5; those of plain on these seeds: .2 and .4.
    # Tokens: 266.7 of plain, 200 of twin on average; seconds 2.67 and 6.
    assert "rollouts (12 each;" in items["What is matched."]
    assert "steps 0.0%, rollouts 0.0%, tokens 33.3%, seconds 125.0%" in items["What is matched."]
    assert "13.00 h of evaluation in 6 runs" in items["Compute."]
    assert "66 rollouts" in items["Compute."]
    assert "2 questions in both, in all arms" in items["Data and splits."]
    assert "`tuning` of the study is empty" in items["Hyper-parameters."]
    assert "1 runs failed, 0 not run or not ended; 11 outages in 22 retrievals" in items["Failures and outages."]
    assert "standard error alone is 0.354" in items["Variance."]  # sqrt(.5 * .5 / 2)
    save(runs(found), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        assert [r["exact_match"] for r in csv.DictReader(file)] == ["0.4", "0.8", "0.6", "0.8", "0.5", ""]


def test_a_run_that_ends_short_of_the_budget_is_named(study: Write) -> None:
    loaded = load_any(study("pair", ("rollouts: 16", "rollouts: 99"), ("[0, 1]", "[0]")))
    planned = jobs(loaded)
    record(planned[0], {0: 0.0, 4: 0.4}, 4)
    assert isinstance(loaded.spec, Study)
    found = Comparison(loaded.spec, planned, {})
    assert found.horizon == 24.0
    table = document(found)
    assert "**Not matched**: plain/0 ended at `train.steps`, short of the budget." in table
    assert "- not run, or not to its end: twin/0" in table


def test_curves(found: Comparison) -> None:
    rows = curves(found)
    steps = [(r["x"], r["exact_match"]) for r in rows if (r["arm"], r["quantity"]) == ("plain", "steps")]
    # After step 1 seeds 0 and 1 were not judged: halfway, .2 and .4; seed 2 was: .7.
    assert steps == [(0.0, pytest.approx(0.1)), (1.0, pytest.approx(1.3 / 3)), (2.0, pytest.approx(0.5))]
    # Tokens: up to where the shortest run ended, at 200; seed 1 was then halfway, at .4.
    tokens = [(r["x"], r["exact_match"]) for r in rows if (r["arm"], r["quantity"]) == ("plain", "tokens")]
    assert tokens[-1] == (200.0, pytest.approx((0.4 + 0.4 + 0.5) / 3))


def along(line: Line2D) -> list[float]:
    """Return where the points of a line are."""
    return list(np.asarray(line.get_xdata(), float))


def dots(axes: Axes) -> dict[object, list[float]]:
    """Return where the lines of a panel have dots, by arm."""
    marked = {line.get_label(): cast("list[int]", line.get_markevery()) for line in axes.lines}
    return {line.get_label(): [along(line)[i] for i in marked[line.get_label()]] for line in axes.lines}


def test_dots_are_evaluations_of_every_seed(found: Comparison) -> None:
    panels = {axes.get_xlabel().split()[0]: axes for axes in draw(found, curves(found)).axes}
    # Of `plain` only seed 2 was judged after step 1, of `twin` only seed 0; seed 1 of `plain` has tokens of its own.
    assert dots(panels["steps"]) == {"plain": [0, 2], "twin": [0, 2]}
    assert dots(panels["rollouts"]) == {"plain": [0, 12], "twin": [0, 12]}
    assert dots(panels["tokens"]) == {"plain": [0], "twin": [0, 200]}
    assert dots(panels["seconds"]) == {"plain": [0], "twin": [0, 6]}
    assert [along(line) for line in panels["tokens"].lines] == [[0, 100, 200]] * 2


def test_where_the_arms_ended(found: Comparison) -> None:
    axes, areas = finals(found).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["twin", "plain"]  # .8 and .5, from top to bottom
    assert axes.yaxis_inverted()
    seeds = [along(line) for line in axes.lines if line.get_marker() == "o"]
    assert seeds == [[0.8, 0.8], [0.4, 0.6, 0.5]]
    under = [along(line) for line in areas.lines if line.get_marker() == "o"]
    assert under == [pytest.approx([0.6, 0.5]), pytest.approx([0.2, 0.4, 0.5])]


def test_an_arm_has_the_same_colour_in_every_picture(study: Write) -> None:
    loaded = load_any(study("pair", ("reference: plain", "reference: twin"), ("[0, 1]", "[0]")))
    planned = jobs(loaded)
    for job in planned:
        record(job, {0: 0.0, 3: 0.8 if job.arm == "twin" else 0.2}, 3)
    assert isinstance(loaded.spec, Study)
    found = Comparison(loaded.spec, planned, {})
    ends, _ = finals(found).axes
    names = [tick.get_text() for tick in ends.get_yticklabels()]
    assert names == ["twin", "plain"]
    means = [line for line in ends.lines if line.get_marker() == "|"]
    drawn = {name: line.get_color() for name, line in zip(names, means, strict=True)}
    curved = draw(found, curves(found)).axes[0].lines
    assert drawn == {line.get_label(): line.get_color() for line in curved} == {"plain": "C0", "twin": "C1"}


def test_the_board(found: Comparison) -> None:
    screen = Console(force_terminal=True, width=100, record=True, color_system=None)
    failing = next(iter(found.failed))
    done = [r.job for r in found.done]
    with Board(found.jobs, done[:4], screen) as board:
        board.ended(done[4], "")
        board.ended(failing, "exit code 1\n  boom")
        board.show([failing])
    text = screen.export_text()
    assert "4 of 6 runs are there already" in text
    assert "[5/6] twin/1: exact match 0.800 after 2 steps, 12 rollouts, 6 s" in text
    assert "[6/6] twin/2: FAILED: exit code 1\n  boom" in text
    row = next(line for line in text.splitlines() if "twin" in line and "│" in line)
    assert [w.strip() for w in row.split("│")[1:-1]] == ["twin", "2/3", "1", "seed 2: step 1", "0.800"]
    plain = Console(width=100, record=True)
    with Board(found.jobs, done, plain) as board:
        board.show([failing])
    assert plain.export_text() == "5 of 6 runs are there already\n"


def test_arms_are_judged_alike(study: Write) -> None:
    twin = "twin: {objective: {terms: {1: {weight: 0.5}}}}"
    for change in ("data: {test: {questions: 1}}", "evaluate: {greedy: true}"):
        key = "data.test" if "test" in change else "evaluate"
        with pytest.raises(SpecError, match=rf"pair.yaml:8:\d+: arms.twin: `{key}` has to be the same for all arms"):
            jobs(load_any(study("pair", (twin, f"twin: {{{change}}}"))))


def test_what_arms_do_not_share_is_said_aloud(study: Write) -> None:
    twin = "twin: {objective: {terms: {1: {weight: 0.5}}}}"
    over = (
        "{sampling: {temperature: 0.7}, model: {dtype: bfloat16}, objective: {credit: [{type: broadcast, of: igpo}]}}"
    )
    loaded = load_any(study("pair", (twin, f"twin: {over}")))
    assert isinstance(loaded.spec, Study)
    items = dict(checklist(Comparison(loaded.spec, jobs(loaded), {})))
    assert "**Arms differ in model, sampling: what is seen may be due to that.**" in items["Seeds"]
    assert "*twin*: the gold answer" in items["What it needs beyond rollouts and rewards"]
    assert "`broadcast` (" in items["What each arm credits"]
    assert "`igpo` (" in items["What each arm credits"]
    assert items["Evaluations"] == "none yet a run, in all arms."


def named(study: Write, primary: str, seeds: str = "[0, 1]") -> tuple[Study, list[Job]]:
    """Return a study with a primary contrast."""
    loaded = load_any(study("pair", ("reference: plain", f"reference: plain\nprimary: {primary}"), ("[0, 1]", seeds)))
    assert isinstance(loaded.spec, Study)
    return loaded.spec, jobs(loaded)


def test_a_primary_contrast_is_named_before_the_first_run_or_is_one_of_many(study: Write) -> None:
    settings, planned = named(study, "{arm: twin, figure: area}")
    settings.folder.mkdir(parents=True)
    write_down(settings, planned)
    for job in planned:
        record(job, {0: 0.0, 3: 0.4 + 0.2 * (job.arm == "twin") + 0.1 * job.seed * (job.arm == "twin")}, 3)
    write_down(settings, planned)  # it is remembered already: that runs have begun since makes no difference
    table = document(Comparison(settings, planned, {}))
    # After 16 of 18 rollouts: 16 / 18 / 2 of 0.6 and 0.7 against that of 0.4.
    assert "**Primary contrast** (twin minus plain, area), named before the first run: +0.111 [" in table
    other, planned = named(study, "{arm: plain, minus: twin}")
    write_down(other, planned)
    found = Comparison(other, planned, {})
    assert "named **when 4 runs had begun: take it as one of many**: -0.250" in document(found)
    without = other.model_copy(update={"primary": None})
    assert "plain minus twin, exact_match, is no longer in the study**" in document(Comparison(without, planned, {}))
    (settings.folder / "primary.json").write_text("[1]")
    with pytest.raises(StudyError, match=r"primary.json: got something that is no primary contrast"):
        write_down(settings, planned)


def test_a_contrast_named_beforehand_needs_no_correction(study: Write) -> None:
    third = ("twin: {objective", "third: {train: {learning_rate: 1.0e-5}}\n  twin: {objective")
    primary = ("reference: plain", "reference: plain\nprimary: {arm: twin}")
    loaded = load_any(study("pair", third, primary, ("[0, 1]", "[0, 1, 2]")))
    settings, planned = loaded.spec, jobs(loaded)
    assert isinstance(settings, Study)
    ends = {"plain": (0.1, 0.2, 0.3), "twin": (0.3, 0.5, 0.7), "third": (0.2, 0.4, 0.6)}
    for job in planned:
        record(job, {0: 0.0, 3: ends[job.arm][job.seed]}, 3)
    found = Comparison(settings, planned, {})
    own = {arm: pair.p for arm in ("twin", "third") if (pair := found.pair(arm, "plain", "exact_match"))}
    # Differences 0.2, 0.3, 0.4 and 0.1, 0.2, 0.3: t = 0.3 and 0.2, over 0.1 / sqrt(3).
    assert own["twin"] == pytest.approx(0.03509, abs=1e-5)
    assert own["third"] == pytest.approx(0.07418, abs=1e-5)
    assert found.adjusted("exact_match") == pytest.approx({"twin": 2 * own["twin"], "third": own["third"]})
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_down(settings, [])  # as it would be before any run
    assert Comparison(settings, planned, {}).adjusted("exact_match") == pytest.approx(own)
    rows = {(r["arm"], r["other"]): r for r in differences(found) if r["figure"] == "exact_match"}
    assert rows["twin", "plain"]["p_holm"] == pytest.approx(2 * own["twin"])
    assert rows["plain", "twin"]["p"] == pytest.approx(own["twin"])
    assert rows["twin", "third"]["p_holm"] is None


def test_a_primary_contrast_is_one_of_two_arms(study: Write) -> None:
    for primary, said in {
        "{arm: twinn}": r'primary.arm: got "twinn", expected one of plain, twin; did you mean "twin"\?',
        "{arm: twin, minus: plan}": "primary.minus: got",
        "{arm: plain}": 'primary: got "plain" minus itself, expected two arms',
    }.items():
        with pytest.raises(SpecError, match=said):
            named(study, primary)

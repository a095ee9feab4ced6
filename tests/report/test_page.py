"""The page of a run: whole at any step, small, and whatever the model wrote stays text."""

import json
import re
from html.parser import HTMLParser
from math import isfinite, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn, write_groups
from sdsearch.errors import DataError
from sdsearch.report.charts import POINTS, charts, draw, lines, thin
from sdsearch.report.page import CHARACTERS, LIMIT, clip, page, spread

EVIL = """<script>alert("1")</script>' onload="x" </pre></details> $\\frac$ {{ 7 * 7 }} &amp;"""
FIGURES = {"exact_match": 0.25, "f1": 0.5, "searches": 2.0, "gold_recall": 0.75, "invalid": 0.0}


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def episode(text: str) -> Trajectory:
    model = Segment("model", text, (1, 2), (-0.001, -3.0), (Span.QUERY, Span.MARKUP))
    segments = (Segment("prompt", text), model, Segment("observation", text))
    question = Question("q", text, (text,), (), ())
    return Trajectory(question, segments, (Turn("search", text),), "max_turns", 0.5)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run that was stopped before it had done anything."""
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "spec.yaml").write_text("name: <b>\nseed: 3\n")
    return tmp_path


def record(run: Path, *metrics: object) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))


def test_a_run_that_has_done_nothing_has_a_page(run: Path) -> None:
    read = Tags(page(run).read_text())
    assert "seed 3, step 0" in read.text
    assert "Not evaluated yet." in read.text
    assert "b" not in read.tags
    assert [p.name for p in run.iterdir() if "partial" in p.name] == []


def test_whatever_was_written_stays_text(run: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"system": EVIL, "packages": {EVIL: "1"}, "code": {EVIL: EVIL}}))
    warning = {"limit": "x", "figure": EVIL, "value": 1.0, "text": EVIL}
    record(run, {"step": 2, "train": {EVIL: 1.0, f"{EVIL}/loss": 2.0}, "seconds": {EVIL: 1.0}, "warnings": [warning]})
    write_groups(run / "trajectories" / "step_2.jsonl", [Group(Question(EVIL, EVIL, (), ()), (episode(EVIL),))])
    for decode in (None, lambda tokens: EVIL * len(tokens)):
        read = Tags(page(run, decode).read_text())
        assert {"script", "link", "img", "iframe"} & set(read.tags) == set()
        assert {"onload", "src", "href"} & read.attributes == set()
        assert read.text.count(EVIL) > 8
        assert read.tags.count("svg") == 3


def test_tokens_show_what_they_add_and_how_likely_they_were(run: Path) -> None:
    write_groups(run / "trajectories" / "evaluate_0.jsonl", [Group(Question("q", "?", (), ()), (episode("ab"),))])
    html = page(run, lambda tokens: "ab"[: len(tokens)]).read_text()
    assert '<span title="-0.001">a</span><span class="t3" title="-3.000">b</span>' in html


def test_the_evaluation_of_the_last_step_is_shown(run: Path) -> None:
    for name in ("evaluate_2", "step_10", "evaluate_10", "step_9"):
        group = Group(Question("q", "?", (), ()), (episode(f"from {name}"),))
        write_groups(run / "trajectories" / f"{name}.jsonl", [group])
    html = page(run).read_text()
    assert "from evaluate_10" in html
    assert "from step_10" not in html


def test_a_page_stays_small(run: Path) -> None:
    long = "<" * 10**5
    group = Group(Question("q", long, (), ()), (episode(long),) * 30)
    write_groups(run / "trajectories" / "step_1.jsonl", [group])
    record(run, *({"step": i, "train": {"loss": 1.0 / (i + 1)}, "seconds": {}} for i in range(5000)))
    assert 10**5 < len(page(run).read_bytes()) < LIMIT


def test_lines_leave_gaps_and_keep_their_end() -> None:
    found = lines(
        [
            {"step": 0, "evaluate": FIGURES, "seconds": {"generate": 9.0}},
            {"step": 1, "train": {"loss": float("inf"), "note": "text"}, "seconds": {"step": 2.0}},
        ]
    )
    assert set(found) == {*(f"evaluate/{n}" for n in FIGURES), "train/loss", "seconds/step"}
    assert found["train/loss"][0][1] != found["train/loss"][0][1]
    thinned = thin([(i, 0.0) for i in range(1001)])
    assert len(thinned) <= POINTS
    assert thinned[-1] == (1000, 0.0)


def test_each_figure_is_drawn_once() -> None:
    main, other = charts([{"step": 1, "train": {"loss": 1.0, "entropy": 2.0, "new/figure": 3.0}, "seconds": {}}])
    assert [c.title for c in main] == ["loss", "entropy, nats"]
    assert [c.title for c in other] == ["train/new/figure"]
    assert [line.name for line in main[0].lines] == ["loss"]


def test_a_line_is_where_its_values_are() -> None:
    picture = draw("loss", {"train/loss": [(0, 1.0), (1, 3.0), (2, nan), (4, 1.0)]}, ends=[2, 9])
    (line,) = picture.lines
    points = [tuple(map(float, point[1:].split())) for point in re.findall(r"[ML][^ML]+", line.path)]
    assert [command for command in line.path if command in "ML"] == ["M", "L", "M"], "a gap where there is no number"
    assert [x for x, _ in points] == [picture.left, (3 * picture.left + picture.right) / 4, picture.right]
    (_, low), (_, high), (_, last) = points
    assert low == last > high, "a picture's units run down"
    up = {mark.text: mark.at for mark in picture.up}
    assert (up["1"], up["3"]) == (low, high)
    assert [mark.text for mark in picture.across] == ["0", "1", "2", "3", "4"]
    assert picture.ends == ((picture.left + picture.right) / 2,)


@given(st.lists(st.floats(), min_size=1, max_size=40), st.integers(0, 10**6))
def test_whatever_the_values_are_lines_and_marks_stay_in_the_picture(values: list[float], start: int) -> None:
    picture = draw("x", {"x": [(start + i, v if isfinite(v) else nan) for i, v in enumerate(values)]})
    points = [
        [float(v) for v in point[1:].split()]
        for line in picture.lines
        for point in re.findall(r"[ML][^ML]+", line.path)
    ]
    assert len(points) == sum(map(isfinite, values))
    assert all(picture.left <= x <= picture.right and picture.top <= y <= picture.bottom for x, y in points)
    assert all(picture.left <= mark.at <= picture.right for mark in picture.across)
    assert all(picture.top <= mark.at <= picture.bottom for mark in picture.up)
    for axis in (picture.across, picture.up):
        assert 0 < len({mark.text for mark in axis}) == len(axis) < 12
    assert all(float(mark.text).is_integer() for mark in picture.across)


def test_the_sample_is_spread_and_texts_are_cut() -> None:
    episodes = [episode(str(i)) for i in range(10)]
    assert [t.question.text for t in spread(episodes, 4)] == ["0", "2", "5", "7"]
    assert spread(episodes, 24) == episodes
    assert clip("x" * (CHARACTERS + 5)).endswith("x [5 more characters]")


def test_the_command_says_where_the_page_is(run: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.output.strip() == str(run / "report.html")
    with pytest.raises(DataError, match=r"expected spec\.yaml"):
        page(run / "trajectories")

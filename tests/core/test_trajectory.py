"""Trajectories: they survive a file bit for bit, and say plainly what is wrong with one."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Hop, Question
from sdsearch.core.trajectory import Group, Segment, Span, read_groups, write_groups
from sdsearch.errors import DataError
from sdsearch.testing import example_groups, example_trajectory

floats = st.floats(allow_nan=False, allow_infinity=False, max_value=0)


def test_groups_survive_a_file(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups.jsonl", example_groups())
    assert list(read_groups(tmp_path / "groups.jsonl")) == example_groups()


@settings(max_examples=50, deadline=None)
@given(st.text(), st.lists(floats, max_size=5), st.dictionaries(st.text(max_size=3), floats))
def test_any_text_and_number_survives(
    tmp_path_factory: pytest.TempPathFactory, text: str, logprobs: list[float], metrics: dict[str, float]
) -> None:
    question = Question("q", text, (text, "b"), ("p",), (Hop(text, "city", "b", "p"),), "bridge-1")
    spans = (Span.ANSWER,) * len(logprobs)
    segment = Segment("model", text, tuple(range(len(logprobs))), tuple(logprobs), spans)
    made = example_trajectory(question, [("answer", text)], 1.0)
    made = type(made)(question, (*made.segments, segment), made.turns, made.stop_reason, 0.1, metrics)
    path = tmp_path_factory.mktemp("groups") / "groups.jsonl"
    write_groups(path, [Group(question, (made,))])
    assert list(read_groups(path)) == [Group(question, (made,))]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "groups.jsonl"
    write_groups(path, example_groups()[:1])
    path.write_text(path.read_text() + '{"question": 3}\n')
    with pytest.raises(DataError, match=r"groups\.jsonl:2: not a group of trajectories"):
        list(read_groups(path))


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"reward": 1.0', '"reward": "1.0"', "trajectories.0.reward"),
        ('"tokens": [1, 2, 3]', '"tokens": [1, 2.5, 3]', "trajectories.0.segments.0.tokens.1"),
        ('"role": "prompt"', '"role": "system"', "trajectories.0.segments.0.role"),
        ('"spans": [0,', '"spans": [7,', "trajectories.0.segments.1.spans.0"),
        ('"gold": ["p0"]', '"gold": "p0"', "question.gold"),
        ('"text": "Where is place 0?", ', "", "question.text"),
        ('"stop_reason":', '"finish": 1, "stop_reason":', "trajectories.0.finish"),
        ('"role": "prompt"', '"role": "prompt", "mask": []', "trajectories.0.segments.0.mask"),
        ('"gold": ["p0"]', '"gold": ["p0"], "origin": ""', "question.origin"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, old: str, new: str, where: str) -> None:
    path = tmp_path / "groups.jsonl"
    write_groups(path, example_groups()[:1])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"groups\.jsonl:1: not a group of trajectories: {re.escape(where)}: "):
        list(read_groups(path))


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"[" * 5000 + b"\n", b"null\n", b"\n", b'{"question": {}}\n'])
def test_a_line_of_junk_is_refused(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "groups.jsonl"
    path.write_bytes(junk)
    with pytest.raises(DataError, match=r"groups\.jsonl:1: not a group of trajectories: "):
        list(read_groups(path))


def test_a_record_from_before_a_field_was_there_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "groups.jsonl"
    write_groups(path, example_groups()[:1])
    records = json.loads(path.read_text())
    for trajectory in records["trajectories"]:
        del trajectory["branch"], trajectory["outage"]
    path.write_text(json.dumps(records) + "\n")
    assert list(read_groups(path)) == example_groups()[:1]


def test_a_token_is_sampled_exactly_when_it_has_a_logprob() -> None:
    with pytest.raises(
        ValueError, match="a model segment of 2 tokens needs 2 log-probabilities and spans, got 1 and 0"
    ):
        Segment("model", "x", (1, 2), (-1.0,))
    with pytest.raises(ValueError, match="a prompt segment of 2 tokens needs 0"):
        Segment("prompt", "x", (1, 2), (-1.0, -1.0), (Span.THINK, Span.THINK))


def test_queries_answer_and_counts() -> None:
    made = example_trajectory(Question("q", "", ("a",)), [("search", "x"), ("search", "y z"), ("answer", "b")], 0.0)
    assert made.queries == ("x", "y z")
    assert made.answer == "b"
    assert made.sampled == 4 + 5 + 4
    assert len(made.actions) == len(made.turns) == 3
    assert len(made.tokens) == 3 + 13 + 2 + 2

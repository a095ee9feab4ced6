"""Damaged files of a run: `report` says which file it is and, of lines, which line. Seeded; `make fuzz` tries more."""

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn, write_groups
from sdsearch.errors import CheckpointError, SdsearchError
from sdsearch.report.page import page
from sdsearch.runs.token_columns import HintLine, read_hints, write_hints

TRIES = int(os.environ.get("SDSEARCH_FUZZ", "600")) // 4
THRUST = (b"[" * 5000, b'{"a":' * 3000, b"\xff", b"NaN", b"null", b"1e999", b"\0", b"\n", b"\\ud800", b'"', b"{}", b"-")


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Flip a bit, change a byte, leave some out, or thrust some in."""
    at, kind = dice.randrange(len(data)), dice.randrange(4)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + dice.randrange(1, 50) :]
    return data[:at] + dice.choice(THRUST) + data[at:]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run; pictures are not drawn, which takes longer than all else."""
    monkeypatch.setattr("sdsearch.report.charts.draw", lambda title, *_, **__: blank(title))
    question = Question("q", "Where?", ("Rome",), ("p",))
    model = Segment("model", "<search> a </search>", (1, 2), (-0.5, -3.0), (Span.QUERY, Span.MARKUP))
    turn = Turn("search", "a", ("p",), ("Rome",), (0.5,), "stop", 3)
    played = Trajectory(question, (Segment("prompt", "Where?", (5,)), model), (turn,), "max_turns", 0.5, {"f1": 0.5})
    (tmp_path / "trajectories").mkdir()
    write_groups(tmp_path / "trajectories" / "step_2.jsonl", [Group(question, (played, played))] * 2)
    (tmp_path / "spec.yaml").write_text("name: n\nseed: 3\ntrain: {steps: 2}\nobjective:\n  credit: [group_mean]\n")
    (tmp_path / "environment.json").write_text(json.dumps({"python": "3", "packages": {"a": "1"}, "code": {"b": "2"}}))
    lines = [
        {"step": 1, "phase": 1, "train": {"loss": 0.5, "reward": 0.25}, "seconds": {"step": 2.0, "train": 1.0}},
        {
            "step": 1,
            "evaluate": {"exact_match": 0.5, "f1": 0.5},
            "retrieval": {"calls": 3},
            "labels": {"d": [[1.0, 2]]},
        },
        {"step": 2, "train": {"loss": None}, "warnings": [{"limit": "l", "figure": "f", "value": 1.0, "text": "t"}]},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def blank(title: str) -> object:
    from sdsearch.report.charts import Chart

    return Chart(title, 1, 1, 0, 0, 1, 1, (), (), (), ())


def tried(path: Path, read: Callable[[], object], seed: int) -> int:
    """Damage a file again and again and read it; return how often that was refused, each time with its name."""
    dice, whole, refused = random.Random(seed), path.read_bytes(), 0
    for _ in range(TRIES):
        path.write_bytes(damaged(whole, dice))
        try:
            read()
        except SdsearchError as error:
            refused += 1
            assert str(path) in str(error), str(error)
            if path.suffix == ".jsonl":
                assert f"{path}:" in str(error), str(error)
    path.write_bytes(whole)
    read()
    return refused


@pytest.mark.parametrize(
    ("name", "least"),
    [("trajectories/step_2.jsonl", 0.5), ("metrics.jsonl", 0.3), ("environment.json", 0.2), ("spec.yaml", 0.1)],
)
def test_a_damaged_file_is_named(run: Path, name: str, least: float) -> None:
    assert tried(run / name, lambda: page(run), len(name)) > least * TRIES


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ('"warnings": [{"limit": "l", "figure": "f", "value": 1.0}]', "warnings.0.text: Field required"),
        ('"warnings": [{"limit": "l", "figure": "f", "value": "1", "text": "t"}]', "warnings.0.value: "),
        ('"labels": {"d": [[1.0]]}', "labels.d.0: List should have at least 2 items"),
    ],
)
def test_what_a_line_lacks_is_named(run: Path, rest: str, what: str) -> None:
    path = run / "metrics.jsonl"
    path.write_text(path.read_text() + f'{{"step": 3, {rest}}}\n')
    with pytest.raises(CheckpointError, match=re.escape(what)) as caught:
        page(run)
    assert f"{path}:4: got " in str(caught.value)


def test_damaged_hints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "step_2.jsonl"
    write_hints(path, [HintLine("distill", i, None, "Earlier attempts:") for i in range(3)])
    assert tried(path, lambda: list(read_hints(path)), 0) > 0.3 * TRIES


def test_a_damaged_tokeniser_is_named(run: Path) -> None:
    file = run / "checkpoints" / "step_2" / "tokenizer.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"version": ')
    with pytest.raises(SdsearchError, match=r"step_2/tokenizer\.json is damaged: .*\. No other one"):
        page(run)

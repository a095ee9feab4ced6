"""A stored run is read as it was written: by step, whole or thinned, old or new; what is not there is named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, kept
from sdsearch.errors import CheckpointError, DataError, SpecError
from sdsearch.learning.train import train
from sdsearch.runs import token_columns
from sdsearch.runs.folder import Run
from sdsearch.runs.step_table import covered
from sdsearch.runs.token_columns import (
    HintLine,
    TokenColumns,
    dtype,
    joined,
    read_columns,
    read_hints,
    write_columns,
    write_hints,
)
from sdsearch.spec import load
from sdsearch.testing import example_groups

GROUPS = example_groups()
COUNTS = [len(group.kept) for group in GROUPS]


def made(groups: list[Group], term: str = "kl") -> TokenColumns:
    """Return columns of some groups: of one term, which selected every third row, with a hint for each trajectory."""
    sampled = tuple(t.sampled for t in kept(groups))
    rows = sum(sampled)
    chosen = np.arange(rows) % 3 == 0
    some = int(chosen.sum())
    values = {
        "advantage": np.arange(rows),
        "entropy/student": np.where(chosen, 0.5, np.nan),
        f"selected/{term}": chosen,
        f"top/student/{term}": np.arange(5 * some).reshape(some, 5),
        f"top/student/{term}/logprob": -np.ones((some, 5)),
    }
    hints = tuple(HintLine(term, i, None if i % 2 else 1, f"Łódź {i}") for i in range(len(sampled)))
    return TokenColumns(sampled, {name: column.astype(dtype(name)) for name, column in values.items()}, hints)


def same(one: TokenColumns, two: TokenColumns) -> bool:
    """Say whether columns are equal, types and NaN included."""
    return (one.sampled, one.hints, list(one.values)) == (two.sampled, two.hints, list(two.values)) and all(
        a.dtype == b.dtype and np.array_equal(a.astype(float), b.astype(float), equal_nan=True)
        for a, b in zip(one.values.values(), two.values.values(), strict=True)
    )


@pytest.fixture
def run(spec: Path) -> Run:
    """Return a run that has stored a step and an evaluation."""
    run = Run.begin(load(spec))
    run.keep("step_1", GROUPS, made(GROUPS))
    run.keep("evaluate_1", GROUPS[:1])
    run.record({"step": 1, "train": {}})
    return run


def test_what_was_written_is_read(run: Run) -> None:
    opened = Run.open(run.folder)
    assert same(opened.columns(1), made(GROUPS))
    assert opened.groups(1) == GROUPS
    assert opened.groups("evaluate_1") == GROUPS[:1]
    assert opened.hints(1) == list(made(GROUPS).hints)
    assert (opened.steps, opened.names) == ([1], ["step_1", "evaluate_1"])
    assert opened.metrics() == [{"step": 1, "train": {}}]
    assert opened.experiment == run.experiment


def test_a_table_lines_everything_up(run: Run) -> None:
    table = Run.open(run.folder).table(1)
    twin = TokenTable.build(GROUPS, [np.zeros(t.sampled) for t in kept(GROUPS)])
    for name in ("token", "span", "trajectory", "turn", "position"):
        assert getattr(table, name).tolist() == getattr(twin, name).tolist()
        assert getattr(table, name).dtype == getattr(twin, name).numpy().dtype
    assert (table.groups, table.trajectories, table.group_of) == (twin.groups, twin.trajectories, twin.group_of)
    assert table["advantage"].tolist() == list(range(len(table)))
    alternatives = table.top("student", "kl")
    assert alternatives.rows.tolist() == list(range(0, len(table), 3))
    assert alternatives.token[1].tolist() == [5, 6, 7, 8, 9]
    assert alternatives.logprob.shape == alternatives.token.shape
    assert [table.hint("kl", 2, turn) for turn in (0, 1)] == [None, "Łódź 2"]
    assert [table.hint("kl", 3, turn) for turn in (0, 1)] == ["Łódź 3"] * 2
    assert table.hint("other", 3, 0) is None


def test_what_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    opened, table = Run.open(run.folder), run.table(1)
    with pytest.raises(DataError, match=r"step_2\.jsonl is not there, expected one of step_1, evaluate_1"):
        opened.table(2)
    with pytest.raises(DataError, match=r"columns/step_2\.safetensors is not there, expected one of step_1"):
        opened.columns(2)
    with pytest.raises(DataError, match=r"got the column 'advantages', expected one of advantage, entropy/student, "):
        table["advantages"]
    with pytest.raises(DataError, match="got the column 'selected/distill'"):
        table.top("teacher", "distill")
    with pytest.raises(DataError, match="got the column 'top/teacher/kl'"):
        table.top("teacher", "kl")
    with pytest.raises(CheckpointError, match=r"got no checkpoint, expected one of \(there is none\)"):
        opened.checkpoint()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"holds no run: expected spec\.yaml in it; name a folder such as runs/"):
            Run.open(folder)


def test_an_old_run_has_no_columns_and_its_spec_may_not_load(run: Run) -> None:
    for kind in ("columns", "hints"):
        for path in (run.folder / kind).iterdir():
            path.unlink()
        (run.folder / kind).rmdir()
    (run.folder / "spec.yaml").write_text("name: small\nagent: {type: scripted, brain: large}")
    opened = Run.open(run.folder)
    table = opened.table(1)
    assert list(table.columns) == ["logprob/sampler"]
    assert table["logprob/sampler"].tolist() == pytest.approx(
        [p for t in kept(GROUPS) for a in t.actions for p in a.logprobs]
    )
    assert table.hints == ()
    with pytest.raises(DataError, match=r"columns/step_1\.safetensors is not there, expected one of \(none is kept\)"):
        opened.columns(1)
    with pytest.raises(SpecError, match="brain"):
        opened.experiment  # noqa: B018


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6000))
def test_a_large_step_keeps_the_first_groups_that_fit(limit: int) -> None:
    whole = made(GROUPS)
    some = whole.fitting(COUNTS, limit)
    ends = np.cumsum([0, *COUNTS])
    assert len(some.sampled) in ends
    assert some.size <= limit or not some.sampled
    larger = [end for end in ends if end > len(some.sampled)]
    assert not larger or whole.first(larger[0]).size > limit
    # What is kept is what would be there if there were no more groups.
    assert same(some, made(covered(GROUPS, len(some.sampled))))


def test_a_thinned_table_holds_the_groups_that_its_columns_cover(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    size = made(GROUPS[:2]).size
    assert size < made(GROUPS).size
    monkeypatch.setattr(token_columns, "LIMIT", size)
    run.keep("step_2", GROUPS, made(GROUPS))
    table, opened = run.table(2), Run.open(run.folder)
    assert table.groups == tuple(GROUPS[:2])
    assert len(opened.groups(2)) == len(GROUPS)
    assert len(table) == len(table["advantage"]) == sum(t.sampled for t in kept(GROUPS[:2]))
    monkeypatch.setattr(token_columns, "LIMIT", 10)
    run.keep("step_3", GROUPS, made(GROUPS))
    table = run.table(3)
    assert (len(table), table.groups, table.hints, len(table["entropy/student"])) == (0, (), (), 0)


def test_processes_are_joined_in_order() -> None:
    one, two = made(GROUPS[:2]), made(GROUPS[2:], "ours")
    both = joined([one, two])
    first, second = sum(one.sampled), sum(two.sampled)
    assert both.sampled == made(GROUPS).sampled
    assert both.values["advantage"].tolist() == [*range(first), *range(second)]
    assert both.values["selected/kl"].tolist() == [*one.values["selected/kl"], *[False] * second]
    assert both.values["selected/ours"].tolist() == [*[False] * first, *two.values["selected/ours"]]
    assert np.array_equal(both.values["top/student/ours"], two.values["top/student/ours"])
    assert {h.trajectory: h.term for h in both.hints} == {
        i: "kl" if i < len(one.sampled) else "ours" for i in range(len(both.sampled))
    }
    assert same(joined([one]), one)
    lacking = TokenColumns(one.sampled, {"advantage": one.values["advantage"]})
    entropy = joined([lacking, two]).values["entropy/student"]
    assert np.isnan(entropy[:first]).all()
    assert np.array_equal(entropy[first:], two.values["entropy/student"], equal_nan=True)


def test_resuming_drops_the_files_of_later_steps(spec: Path) -> None:
    folder = train(load(spec, ["train.steps=3", "train.keep_checkpoints=9", "train.evaluate_every=0"])).folder
    expected = {p: p.read_bytes() for kind in ("columns", "hints") for p in (folder / kind).iterdir()}
    assert sorted(p.stem for p in expected) == ["step_1", "step_1", "step_2", "step_2", "step_3", "step_3"]
    run = Run(folder, load(folder / "spec.yaml"))
    (folder / "columns" / ".step_4.safetensors.partial").touch()
    run.rewind(1)
    assert [p.name for kind in ("trajectories", "columns", "hints") for p in sorted((folder / kind).iterdir())] == [
        "evaluate_0.jsonl",
        "step_1.jsonl",
        "step_1.safetensors",
        "step_1.jsonl",
    ]
    for step in (2, 3):
        for path in (folder / "checkpoints" / f"step_{step}").iterdir():
            path.unlink()
        (folder / "checkpoints" / f"step_{step}").rmdir()
    train(load(spec, ["train.steps=3", "train.keep_checkpoints=9", "train.evaluate_every=0"]), resume=True)
    assert {p: p.read_bytes() for p in expected} == expected


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("columns", b"", r"step_1\.safetensors: not the columns of a step: .*Remove the file"),
        ("columns", b"rotten" * 9, r"step_1\.safetensors: not the columns of a step: "),
        ("hints", b'{"term": "kl", "trajectory": 0, "turn": null}\n', r"step_1\.jsonl:1: not a hint: text Field req"),
        ("hints", b'{"term": "kl", "traj', r"step_1\.jsonl:1: not a hint:  Invalid JSON"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_can_be_read_without_it(
    run: Run, kind: str, wrong: bytes, said: str
) -> None:
    path = next((run.folder / kind).iterdir())
    path.write_bytes(wrong)
    with pytest.raises(DataError, match=said):
        run.table(1)
    path.unlink()
    assert len(run.table(1)) == sum(made(GROUPS).sampled)


def test_columns_of_other_trajectories_are_refused(run: Run, tmp_path: Path) -> None:
    write_columns(run.folder / "columns" / "step_1.safetensors", made(GROUPS[1:]))
    with pytest.raises(DataError, match=r"step_1\.safetensors is of other trajectories: got 5 .*, expected 5 with"):
        run.table(1)
    short = made(GROUPS)
    path = tmp_path / "short"
    write_columns(path, TokenColumns(short.sampled, {**short.values, "advantage": np.zeros(3)}))
    with pytest.raises(DataError, match=rf"got 3 rows of `advantage`, expected {sum(short.sampled)}"):
        read_columns(path)


def test_hints_are_written_as_they_are(tmp_path: Path) -> None:
    hints = [HintLine("kl", 0, None, 'a\nb "c"\u2028'), HintLine("distill", 1, 2, "Łódź")]
    write_hints(tmp_path / "hints", hints)
    assert list(read_hints(tmp_path / "hints")) == hints
    assert json.loads((tmp_path / "hints").read_bytes().split(b"\n")[1]) == {
        "term": "distill",
        "trajectory": 1,
        "turn": 2,
        "text": "Łódź",
    }


READ = """
import sys
from sdsearch.runs.folder import Run
print(len(Run.open(sys.argv[1]).table(1)))
sys.exit("imported torch" if "torch" in sys.modules else 0)
"""


def test_reading_needs_no_torch(run: Run) -> None:
    done = subprocess.run([sys.executable, "-c", READ, run.folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{sum(made(GROUPS).sampled)}\n")

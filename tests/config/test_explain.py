"""Where each value came from."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.config.document import Node
from sdsearch.config.explain import Origin, listing, origins
from sdsearch.config.yaml import parse


def test_values_are_followed_to_where_they_were_written() -> None:
    root = parse("a: {b: 1, c: [1, 2]}\nd: [x,\n  y]\ne: name\nf: [{g: 2}]\nh: []\n", "s.yaml", [])
    root = root.put(["a", "b"], parse("3", "--set a.b=3", [], inline=True))
    resolved = {
        "a": {"b": 3, "c": [1, 2], "new": {"deep": None}},
        "d": ["x", "y"],
        "e": {"type": "name", "size": 0.5},
        "f": [{"g": 2, "list": [1, 2]}, "extra"],
        "h": [],
        "i": {},
    }
    assert list(origins(resolved, root)) == [
        ("a.b", "3", "--set a.b=3"),
        ("a.c", "[1, 2]", "s.yaml:1:14"),
        ("a.new.deep", "null", "default"),
        ("d[0]", '"x"', "s.yaml:2:5"),
        ("d[1]", '"y"', "s.yaml:3:3"),
        ("e.type", '"name"', "s.yaml:4:4"),
        ("e.size", "0.5", "default"),
        ("f[0].g", "2", "s.yaml:5:9"),
        ("f[0].list", "[1, 2]", "default"),
        ("f[1]", '"extra"', "default"),
        ("h", "[]", "s.yaml:6:4"),
        ("i", "{}", "default"),
    ]


def test_a_listing_is_aligned_and_long_values_are_cut() -> None:
    (long,) = origins({"a": "x" * 99}, None)
    assert (len(long.value), long.value[-3:]) == (60, "...")
    rows = [Origin("a", "1", "x.yaml:1:1"), Origin("long.path", "true", "default")]
    assert listing(rows) == "a          1     x.yaml:1:1\nlong.path  true  default\n"
    assert listing([]) == ""
    assert isinstance(parse("a: 1", "x", []), Node)


def test_check_explains_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "low.yaml").write_text(
        "data: {train: {type: atlas, hops: [2]}, test: atlas}\n"
        "environment: {retriever: {type: bm25, corpus: atlas}}\nagent: scripted\n"
    )
    (tmp_path / "high.yaml").write_text("base: low.yaml\nenvironment:\n  top_k: 7\n")
    done = CliRunner().invoke(app, ["check", "--explain", "high.yaml", "--set", "train.steps=3"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("# high.yaml\n")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("# ")]
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines}
    assert rows["name"] == ['"high"', "high.yaml (its name)"]
    assert rows["data.train.hops"] == ["[2]", "low.yaml:1:35"]
    assert rows["data.test.type"] == ['"atlas"', "low.yaml:1:47"]
    assert rows["environment.top_k"] == ["7", "high.yaml:3:10"]
    assert rows["environment.max_turns"] == ["5", "default"]
    assert rows["train.steps"] == ["3", "--set train.steps=3"]
    assert rows["agent.type"] == ['"scripted"', "low.yaml:3:8"]
    columns = [re.fullmatch(r"(\S+ +)(.*?  +)\S.*", line) for line in lines]
    assert len({(m.end(1), m.end(2)) for m in columns if m}) == 1
    assert None not in columns

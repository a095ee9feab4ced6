"""Every line of YAML in docs/data.md is a data set or a corpus that reads what it is said to read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from sdsearch.config.component import resolve
from sdsearch.config.discovery import known
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.testing import records

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
LAYOUTS, CORPORA = (PAGE.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Layouts", "Corpora"))
LINE = re.compile(r"^\|.*\| `(\{.*\})` \|$", re.M)


def settings(text: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(line) for line in LINE.findall(text)]


def test_every_member_of_both_families_has_a_line() -> None:
    assert {line.get("type", "auto") for line in settings(LAYOUTS)} == set(known(Dataset))
    assert {line.get("type", "auto") for line in settings(CORPORA)} | {"atlas"} == set(known(Corpus))
    assert all(name in PAGE for name in resolve(Dataset, "auto").model_fields if name != "path")


@pytest.mark.parametrize("line", settings(LAYOUTS), ids=str)
def test_a_line_of_a_data_set_reads(line: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = TypeAdapter(Dataset).validate_python(line)
    kind = line.get("type", "auto")
    if kind in ("hugging_face", "atlas"):  # the one has no hub here, the other is tried elsewhere
        return
    maker = records.LAYOUTS.get(kind, [records.nq_open])[0]
    rows: list[dict[str, Any]] = [maker(i) for i in range(3)]
    if fields := line.get("fields"):
        rows = [{fields["question"]: f"{i}?", "gold": "a", "aliases": "['b']", fields["id"]: i} for i in range(3)]
    text = "\n".join(map(json.dumps, rows))
    if line.get("header") or fields:
        names = line.get("header") or list(rows[0])
        values = [list(row.values()) for row in rows] if fields else [[f"{i}?", "['a']"] for i in range(3)]
        text = "\n".join("\t".join(map(str, row)) for row in ([] if line.get("header") else [names]) + values)
    for part in (line, *line.get("of", {}).values()):
        if "path" in part:
            # What is in a file decides, not its name: JSON Lines stand in for Parquet.
            path = Path(part["path"])
            (path.with_suffix(".jsonl") if path.suffix in (".tsv", ".csv") and text[0] == "{" else path).write_text(
                text
            )
            if not path.exists():
                found = TypeAdapter(Dataset).validate_python({**line, "path": str(path.with_suffix(".jsonl"))})
    assert len(found.questions()) >= 3


@pytest.mark.parametrize("line", settings(CORPORA), ids=str)
def test_a_line_of_a_corpus_reads(line: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(line.get("path") or line["of"]["path"])
    if line.get("type") == "folder":
        path.mkdir()
        path /= "notes.md"
    row = records.musique(0) if "of" in line else {"id": "1", "title": "Ash", "text": "A tree."}
    path.write_text("id\ttext\ttitle\n1\tA tree.\tAsh\n" if path.suffix == ".tsv" else json.dumps(row))
    assert TypeAdapter(Corpus).validate_python(line).passages()

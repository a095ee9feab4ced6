"""docs/methods.md has a row for every method that comes with the package, and none for what does not."""

import re
from pathlib import Path

import pytest

import sdsearch
from sdsearch.config.discovery import known
from sdsearch.contracts.loss import Term

SPECS = Path(sdsearch.__file__).parent / "specs"
TEXT = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()


@pytest.mark.parametrize("path", sorted(SPECS.glob("methods/*.yaml")), ids=lambda path: str(path.stem))
def test_it_has_a_row(path: Path) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and f"(../specs/methods/{path.name})" in line]
    assert len(rows) == 1, f"docs/methods.md: expected one row that links ../specs/methods/{path.name}, got {len(rows)}"


def test_every_row_names_a_spec() -> None:
    linked = re.findall(r"\(\.\./specs/([^)]+)\)", TEXT)
    assert [name for name in linked if not (SPECS / name).exists()] == []


def test_every_term_says_what_it_is_a_mean_over() -> None:
    lines = TEXT.partition("## What a loss is a mean over")[2].partition("\n## ")[0].splitlines()
    named = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in lines if line.startswith("| `")]
    assert sorted(term for row in named for term in row) == sorted(known(Term))


def test_rows_are_whole() -> None:
    tables = re.split(r"\n\n+", TEXT)
    for lines in (t.splitlines() for t in tables if t.startswith("|")):
        assert len({line.count("|") for line in lines}) == 1, lines[0]

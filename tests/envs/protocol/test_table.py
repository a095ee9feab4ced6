"""The table of docs/grammar.md is what the grammar does: each of its rows is a test."""

import ast
import re
from pathlib import Path

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Turn
from sdsearch.envs.episode import Done, Episode, Search, Shown
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.reward.exact_match import ExactMatch

PAGE = (Path(__file__).parents[3] / "docs" / "grammar.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| the model wrote |")[2].partition("\n\n")[0].splitlines()[2:]
ROW = re.compile(r"\| `(.+?)` \| (search|answer|invalid) `(.+?)` \| (.+) \|")
FAULTS = set(re.findall(r"`([a-z ]+)`", PAGE.partition("one of five faults")[2].partition("\n\n")[0]))


def meant(cell: str) -> str:
    """Return the text that a cell of the table stands for."""
    escapes = r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})"
    text = re.sub(escapes, lambda m: str(ast.literal_eval(f'"{m[0]}"')), cell.replace(r"\|", "|"))
    return re.sub(r"\{(.+?) \* (\d+)\}", lambda m: m[1] * int(m[2]), text)


def test_every_row_is_read_and_no_case_stands_twice() -> None:
    rows = [ROW.fullmatch(line) for line in TABLE]
    assert len(rows) > 60
    assert all(rows), [line for line, row in zip(TABLE, rows, strict=True) if not row]
    assert len({row[1] for row in rows if row}) == len(rows)
    assert {row[3] for row in rows if row and row[2] == "invalid"} == FAULTS
    assert len(FAULTS) == 5


@pytest.mark.parametrize("line", TABLE)
def test_a_turn_means_what_the_table_says(line: str) -> None:
    row = ROW.fullmatch(line)
    assert row
    written, kind, text = meant(row[1]), row[2], meant(row[3])
    assert SearchR1().parse(written) == (kind, text)
    episode = Episode(Question("q", "Where?", ("nowhere",)), SearchR1(), ExactMatch(), max_turns=3)
    outcome = episode.act(written)
    if kind == "search":
        assert outcome == Search(text)
    else:
        assert outcome == (Done("answered") if kind == "answer" else Shown(SearchR1().render_invalid()))
        assert episode.turns == [Turn(kind, text)]

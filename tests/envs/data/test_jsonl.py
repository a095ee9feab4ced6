import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sdsearch.core.question import Passage, Question
from sdsearch.envs.data.jsonl import JsonlPassages, JsonlQuestions
from sdsearch.envs.data.reading.answers import unquoted
from sdsearch.envs.data.reading.support import content_id
from sdsearch.errors import DataError


def write(tmp_path: Path, *records: Any) -> Path:
    file = tmp_path / "set.jsonl"
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return file


def passages(path: Path) -> list[Passage]:
    return list(JsonlPassages(path=path).passages())


def questions(path: Path) -> list[Question]:
    return list(JsonlQuestions(path=path).questions())


def test_passages_in_each_layout(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"id": "1", "contents": '"Ash"\nAsh is a tree.\nIt is tall.'},
        {"id": 2, "contents": "Oak\nOak is another."},
        {"id": "3", "title": "Elm", "text": "Elm is a third."},
        "",
        {"_id": "4", "text": "No title."},
        {"id": "5", "contents": "One line only."},
        {"id": "6", "contents": '"The "Big" One"\nQuotes inside.'},
        {"id": "7", "contents": '"Heroes" (album)\nNot the whole title is quoted.'},
        {"id": "8", "contents": '""Heroes" (album)"\nThe whole title is.'},
        {"id": "9", "contents": '"A" and "B"\nTwo titles.'},
        {"id": "10", "title": 1984, "text": "A number."},
        {"id": "11", "title": "Yew", "contents": "Yew is a tree.\nIt is old."},
        {"id": "12", "title": "Fir", "contents": '"Fir"\nFir is a tree.'},
        {"title": "Box", "text": "No id."},
    )
    assert passages(file) == [
        Passage("1", "Ash", "Ash is a tree.\nIt is tall."),
        Passage("2", "Oak", "Oak is another."),
        Passage("3", "Elm", "Elm is a third."),
        Passage("4", "", "No title."),
        Passage("5", "", "One line only."),
        Passage("6", 'The "Big" One', "Quotes inside."),
        Passage("7", '"Heroes" (album)', "Not the whole title is quoted."),
        Passage("8", '"Heroes" (album)', "The whole title is."),
        Passage("9", '"A" and "B"', "Two titles."),
        Passage("10", "1984", "A number."),
        Passage("11", "Yew", "Yew is a tree.\nIt is old."),
        Passage("12", "Fir", "Fir is a tree."),
        Passage(content_id("Box", "No id."), "Box", "No id."),
    ]


def test_questions_in_each_layout(tmp_path: Path) -> None:
    nest: Any = "x"
    for _ in range(300):
        nest = [nest]
    file = write(
        tmp_path,
        {"id": "a", "question": "who?", "golden_answers": ["X", "x", "X"], "metadata": {"type": 1}},
        {"id": 7, "question": " where? ", "golden_answers": "Y", "meta_data": {}},
        {"question": "when?", "answer": ["1999", 2000]},
        {"id": "c", "question": "what?", "possible_answers": '["poet", "writer"]'},
        {"id": "d", "question": "which?", "answer": "[sic"},
        {"id": "e", "question": "how?", "answer": "so", "answer_aliases": ["thus", "so"], "answerable": True},
        {"id": "f", "question": "how not?", "answer": "so", "answer_aliases": [], "answerable": False},
        {"id": "g", "question": "deep?", "answer": nest},
    )
    assert questions(file) == [
        Question("a", "who?", ("X", "x"), source="set"),
        Question("7", "where?", ("Y",), source="set"),
        Question(f"q-{hashlib.sha256(b'when?').hexdigest()[:12]}", "when?", ("1999", "2000"), source="set"),
        Question("c", "what?", ("poet", "writer"), source="set"),
        Question("d", "which?", ("[sic",), source="set"),
        Question("e", "how?", ("so", "thus"), source="set"),
        Question("g", "deep?", ("x",), source="set"),
    ]


def test_limit_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    lines = "\ufeff" + "".join(f'{{"id": {i}, "text": "t\u2028{i}"}}\r\n' for i in range(5))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    found = JsonlPassages(path=tmp_path / "p.jsonl.gz", limit=3).passages()
    assert [(p.id, p.text) for p in found] == [("0", "t\u20280"), ("1", "t\u20281"), ("2", "t\u20282")]


def test_a_broken_gzip_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "text": "x"}\n')[:-9])
    with pytest.raises(DataError, match=r"p\.jsonl\.gz: got .*, expected a file that can be read to its end"):
        passages(tmp_path / "p.jsonl.gz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Who wrote ""A B""?"', 'Who wrote "A B"?'),
        ('"A B" was whose?', '"A B" was whose?'),
        ('"A B"', '"A B"'),
        ('"', '"'),
        ('""', '""'),
        ('He said ""no""', 'He said ""no""'),
    ],
)
def test_csv_quoting_is_undone_and_nothing_else(text: str, expected: str) -> None:
    assert unquoted(text) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", r"set\.jsonl:2: got '\{broken\\n' \(.*\), expected a JSON object"),
        ("[1, 2]", r"set\.jsonl:2: got \[1, 2\], expected a JSON object"),
        ("3", r"set\.jsonl:2: got 3, expected a JSON object"),
        ("null", r"set\.jsonl:2: got null, expected a JSON object"),
        ('{"id": "b"}', r"set\.jsonl:2: got the fields id, expected a text under text or contents"),
        ('{"id": true, "text": "x"}', r"set\.jsonl:2: got id True, expected a text under id"),
        ('{"id": "b", "text": " "}', r"set\.jsonl:2: got text ' ', expected a text"),
        ('{"id": "b", "text": 5}', r"set\.jsonl:2: got text 5, expected a text"),
        ('{"id": "a", "text": "x"}', r"set\.jsonl:2: got the id 'a' of line 1 again, expected unique ids"),
        ('{"id": "b", "text": "\\ud800"}', r"set\.jsonl:2: got .*surrogates not allowed"),
    ],
)
def test_a_malformed_passage_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        passages(write(tmp_path, {"id": "a", "text": "fine"}, line))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"golden_answers": ["x"]}, "got the fields golden_answers, expected a text under question"),
        ({"question": "q"}, "got the fields question, expected texts under golden_answers or answers or answer"),
        ({"question": "q", "answer": []}, "got no answer, expected at least one"),
        ({"question": "q", "answer": ["", " "]}, "got an answer empty, expected at least one"),
        ({"question": "q", "answer": None}, "got an answer null, expected at least one"),
        ({"question": "q", "answer": [{"text": "x"}]}, "got an answer of the kind dict, expected at least one"),
    ],
)
def test_a_malformed_question_is_told_with_its_line(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"set\.jsonl:1: {message}"):
        questions(write(tmp_path, fields))


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "\xff", "text": "x"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:1: .*can't decode byte 0xff"):
        passages(tmp_path / "x.jsonl")


def test_a_file_that_is_empty_or_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got no record, expected at least one"):
        passages(write(tmp_path, "", " "))
    with pytest.raises(DataError, match=r"none\.jsonl, which is no file"):
        questions(tmp_path / "none.jsonl")


def test_a_layout_that_it_would_not_read_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set\.jsonl:1: got a record in the layout musique.*`type: musique`"):
        questions(write(tmp_path, {"question": "q", "answer": "a", "paragraphs": [], "question_decomposition": []}))
    (tmp_path / "x.csv").write_text("question,answer\nq,a\n")
    with pytest.raises(DataError, match=r"x\.csv: is csv, expected JSON Lines: write `type: table`"):
        questions(tmp_path / "x.csv")

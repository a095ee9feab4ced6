"""Every layout, in every format in which people have it: read by its name, recognised, and with nothing lost."""

import csv
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Hop, Question
from sdsearch.envs.data.auto import LAYOUTS
from sdsearch.envs.data.paragraphs import Paragraphs
from sdsearch.envs.data.reading.questions import Adapter
from sdsearch.envs.data.reading.support import content_id
from sdsearch.errors import DataError, SpecError
from sdsearch.spec import load
from sdsearch.testing import check_dataset, records

RECORDS = Path(os.environ.get("SDSEARCH_RECORDS", Path(__file__).parents[4] / "shared" / "data"))
MAKERS = [(name, maker) for name, makers in records.LAYOUTS.items() for maker in makers]
ASH, IDA, FIR = (content_id(title, " ".join(s.strip() for s in text)) for title, text in records.PARAGRAPHS.items())
GOLD = (ASH, IDA)
TRIPLES = (Hop("Ash Bridge", "builder", "Ida Oak", ASH), Hop("Ida Oak", "place of birth", "Larch", IDA))
STEPS = (Hop("Ash Bridge", "builder", "Ida Oak", ASH), Hop("", "Where was Ida Oak born?", "Larch", IDA))
OAK = ("Ida Oak", "Oak")
BORN = "Where was the builder of Ash Bridge 1 born?"
EXPECTED = {
    "hotpotqa": Question("h1", BORN, ("Larch",), GOLD, (), "bridge", "set"),
    "hotpotqa_columns": Question("h1", BORN, ("Larch",), GOLD, (), "bridge", "set"),
    "two_wiki": Question("h1", BORN, ("Larch",), GOLD, TRIPLES, "compositional", "set"),
    "musique": Question("2hop__1_1", BORN, ("Larch", "Larch Town"), GOLD, STEPS, "2hop", "set"),
    "nq_open": Question("", "who built bridge 1", OAK, source="set"),
    "triviaqa": Question("tc_1", "Who built bridge 1?", OAK, source="set"),
    "triviaqa_columns": Question("tc_1", "Who built bridge 1?", OAK, source="set"),
    "popqa": Question("1", "Who built bridge 1?", OAK, kind="builder", source="set"),
    "bamboogle": Question("", "Who built the bridge over river 1?", ("Ida Oak",), source="set"),
    "flashrag": Question("test_1", "who built bridge 1", OAK, source="set"),
    "flashrag_hotpotqa": Question("test_1", "who built bridge 1", OAK, GOLD, (), "bridge", "set"),
    "flashrag_two_wiki": Question("test_1", "who built bridge 1", OAK, GOLD, (), "compositional", "set"),
    "flashrag_musique": Question("test_1", "who built bridge 1", OAK, GOLD, STEPS, "", "set"),
    "ultrarag": Question("1", "who built bridge 1", OAK, source="set"),
    "search_r1": Question("test_1", "who built bridge 1", OAK, source="nq"),
    "deep_researcher": Question("", "who built bridge 1", OAK, source="nq"),
}


def as_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_windows_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(("\ufeff" + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)).encode())


def as_array(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows))


def as_indented(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row, indent=2) for row in rows))


def as_wrapped(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(json.dumps({"Version": 1.0, "Data": rows}, indent=1).encode("utf-16"))


def as_gzip(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(flat)


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet")
    plain = [{k: json.dumps(v) if k in MIXED else v for k, v in row.items() if v not in ([], {})} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(plain), path)


MIXED = ("supporting_facts", "context", "evidences")  # lists of texts and numbers, which Parquet has no type for
FORMATS = [
    ("set.jsonl", as_lines),
    ("set.json", as_windows_lines),
    ("set.json", as_array),
    ("set.json", as_indented),
    ("set.json", as_wrapped),
    ("set.json.gz", as_gzip),
    ("set.csv", as_csv),
    ("set.tsv", as_csv),
    ("set.parquet", as_parquet),
]


def dataset(**settings: Any) -> Adapter:
    made = TypeAdapter(Dataset).validate_python(settings)
    assert isinstance(made, Adapter)
    return made


def pooled(of: Dataset) -> set[str]:
    return {passage.id for passage in Paragraphs(of=of).passages()}


@pytest.mark.parametrize(("file", "write"), FORMATS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize(("name", "maker"), MAKERS, ids=lambda value: getattr(value, "__name__", value))
def test_a_layout_is_read_by_its_name_and_recognised(
    tmp_path: Path, name: str, maker: Callable[[int], dict[str, Any]], file: str, write: Callable[..., None]
) -> None:
    write(tmp_path / file, [maker(i) for i in range(3)])
    named, unnamed = dataset(type=name, path=tmp_path / file), dataset(path=tmp_path / file)
    question, expected = named.questions()[1], EXPECTED[maker.__name__]
    assert (question.id if expected.id else "", *parts(question)) == (expected.id, *parts(expected))
    assert len(named.questions()) == 3
    assert unnamed.questions() == named.questions()
    assert f"3 questions; read as {name}" in str(unnamed.inspect())
    assert not named.reading().dropped
    check_dataset(named)
    if question.gold:
        assert pooled(named) == ({*GOLD} if maker is records.flashrag_musique else {*GOLD, FIR})
    else:
        with pytest.raises(DataError, match="comes without paragraphs"):
            pooled(named)


def parts(question: Question) -> tuple[Any, ...]:
    return question.text, question.answers, question.gold, question.hops, question.kind, question.source


def test_every_layout_is_tried_here() -> None:
    assert {layout.name for layout in LAYOUTS} == set(records.LAYOUTS)


def write(path: Path, *rows: Any) -> Path:
    as_lines(path, list(rows))
    return path


def test_the_same_paragraph_has_the_same_id_in_every_layout(tmp_path: Path) -> None:
    makers = {n: m for n, m in MAKERS if n in ("hotpotqa", "two_wiki", "musique")}
    pools = [pooled(dataset(path=write(tmp_path / f"{name}.jsonl", maker(0)))) for name, maker in makers.items()]
    assert pools == [{*GOLD, FIR}] * 3


def test_support_that_does_not_fit_is_kept_as_far_as_it_does_and_told(tmp_path: Path) -> None:
    past, elsewhere, several = (records.hotpotqa(i) for i in range(3))
    past["supporting_facts"] = [["Ash Bridge", 7], ["ida  oak", 1]]
    elsewhere["supporting_facts"] = [["Nowhere", 0], ["Ida Oak", 0], ["Ida Oak", 1]]
    several["context"].append(["Fir Lane", ["Another of the name.", "With a second sentence."]])
    several["supporting_facts"] = [["Fir Lane", 1]]
    found = dataset(path=write(tmp_path / "set.jsonl", past, elsewhere, several)).reading()
    assert [q.gold for q in found.questions[:2]] == [GOLD, (IDA,)]
    assert found.questions[2].gold == (content_id("Fir Lane", "Another of the name. With a second sentence."),)
    assert dict(found.repaired) == {
        "support points past its paragraph: the paragraph counts": 1,
        "support names a paragraph that is not there": 1,
    }
    assert "repaired 1 (support points past its paragraph: the paragraph counts, first at set.jsonl:1)" in found.remark


def test_a_step_whose_paragraph_is_not_there_has_none_and_is_told(tmp_path: Path) -> None:
    record = records.musique(0)
    record["question_decomposition"][1]["paragraph_support_idx"] = 20
    found = dataset(path=write(tmp_path / "set.jsonl", record)).reading()
    assert [hop.passage for hop in found.questions[0].hops] == [ASH, ""]
    assert dict(found.repaired) == {"a step of the decomposition names no paragraph": 1}


def test_the_paragraph_of_a_step_is_gold_though_it_is_not_marked(tmp_path: Path) -> None:
    record = records.musique(0)
    record["paragraphs"][1]["is_supporting"] = False
    (question,) = dataset(path=write(tmp_path / "set.jsonl", record)).questions()
    assert question.gold == GOLD


def test_the_source_is_what_the_spec_says_or_the_record_or_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "set.v1.jsonl", {**records.search_r1(0), "data_source": "searchR1_nq/nq"})
    assert [q.source for q in dataset(path=path).questions()] == ["nq"]
    assert [q.source for q in dataset(path=path, source="mine").questions()] == ["mine"]
    path = write(tmp_path / "nq.dev.jsonl", records.nq_open(0))
    assert [q.source for q in dataset(path=path).questions()] == ["nq"]


def test_a_truth_within_a_truth_is_read(tmp_path: Path) -> None:
    for inner in ({"ground_truth": "Ida<|answer_split|>Oak"}, {"target": ["Ida", "Oak"]}, '{"target": ["Ida", "Oak"]}'):
        record = records.deep_researcher(0) | {"reward_model": {"ground_truth": inner, "style": "rule"}}
        (question,) = dataset(path=write(tmp_path / f"{len(str(inner))}.jsonl", record)).questions()
        assert question.answers == ("Ida", "Oak")


def test_what_cannot_be_asked_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = [{**records.musique(i), "answerable": i % 2 == 0} for i in range(4)]
    found = dataset(type="musique", path=write(tmp_path / "set.jsonl", *rows)).reading()
    assert (len(found.questions), dict(found.dropped)) == (2, {"not answerable": 2})
    assert "dropped 2 (not answerable, first at set.jsonl:2)" in found.remark
    nothing = write(tmp_path / "none.jsonl", rows[1])
    with pytest.raises(DataError, match=r"none\.jsonl:1: got `answerable: false`"):
        dataset(path=nothing).questions()


VALUES: list[tuple[str, tuple[str, ...] | str]] = [
    ("1995", ("1995",)),
    ("1995.0", ("1995",)),
    ("3.5", ("3.5",)),
    ("true", ("yes",)),
    ('"no"', ("no",)),
    ("\"['Paris', 'City of Paris']\"", ("Paris", "City of Paris")),
    ('"[\\"Paris\\", \\"a, b\\"]"', ("Paris", "a, b")),
    ("\"['Paris' 'City']\"", ("Paris", "City")),
    ("\"array(['Paris', 'City'], dtype=object)\"", ("Paris", "City")),
    ('"(\'Paris\', \\"O\'Hare\\")"', ("Paris", "O'Hare")),
    ("\"('Paris')\"", ("('Paris')",)),
    ("\"['Paris', None, nan, 1995, True]\"", ("Paris", "1995", "yes")),
    ("\"[['Paris'], ['City' 'Town']]\"", ("Paris", "City", "Town")),
    ('"[[\\"Paris\\"], [\\"City\\", null]]"', ("Paris", "City")),
    ("\"[array(['Paris', 'City'], dtype=object)]\"", ("Paris", "City")),
    ("\"['Paris' (city)]\"", ("['Paris' (city)]",)),
    ('"[[1, 2]]"', ("[[1, 2]]",)),
    ('"Paris<|answer_split|> City<|answer_split|>"', ("Paris", "City")),
    ('["Paris", "", null, NaN, " Paris "]', ("Paris",)),
    ('[["Paris"], ["City"]]', ("Paris", "City")),
    ('"[1, 2]"', ("[1, 2]",)),
    ('"[sic"', ("[sic",)),
    ('"[sic]"', ("[sic]",)),
    ('"NaN"', ("NaN",)),
    ("NaN", "answer NaN"),
    ("1e400", "answer infinite"),
    ("null", "answer null"),
    ('""', "answer empty"),
    ('" "', "answer empty"),
    ("[]", "no answer"),
    ('"[]"', "answer empty"),
    ("[null, NaN]", "answer null and answer NaN"),
    ('{"a": 1}', "answer of the kind dict"),
]


@pytest.mark.parametrize(("written", "expected"), VALUES, ids=[written for written, _ in VALUES])
def test_an_answer_is_what_people_mean_or_dropped_by_name(
    tmp_path: Path, written: str, expected: tuple[str, ...] | str
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(f'{{"question": "a?", "answer": "Rome"}}\n{{"question": "b?", "answer": {written}}}\n')
    found = dataset(path=path).reading()
    if isinstance(expected, str):
        assert (len(found.questions), dict(found.dropped)) == (1, {expected: 1})
        assert f"dropped 1 ({expected}, first at set.jsonl:2)" in found.remark
    else:
        assert found.questions[1].answers == expected
        assert not found.dropped


def test_numbers_in_brackets_are_a_list_where_the_column_holds_lists(tmp_path: Path) -> None:
    lists = [{"question": f"{i}?", "answer": f"['a{i}']"} for i in range(3)]
    texts = [{"question": f"{i}?", "answer": f"a{i}"} for i in range(3)]
    both = {"question": "n?", "answer": "[1, 2.5]"}
    split = dataset(path=write(tmp_path / "lists.jsonl", *lists, both)).reading()
    assert split.questions[3].answers == ("1", "2.5")
    kept = dataset(path=write(tmp_path / "texts.jsonl", *texts, both)).reading()
    assert kept.questions[3].answers == ("[1, 2.5]",)
    assert dict(kept.repaired) == {"a list of numbers in a text stays a text": 1}
    few = dataset(path=write(tmp_path / "few.jsonl", *texts[:2], lists[2], both)).reading()
    assert few.questions[3].answers == ("[1, 2.5]",)


def test_ids_are_stable_unique_and_told(tmp_path: Path) -> None:
    one, two = {"question": "a?", "answer": "x"}, {"question": "b?", "answer": "y"}
    first, second = (
        dataset(path=write(tmp_path / "a.jsonl", one, two)),
        dataset(path=write(tmp_path / "b.jsonl", two, one)),
    )
    assert [q.id for q in first.questions()] == [q.id for q in second.questions()[::-1]]
    rows = [
        {**two, "id": 0},
        {**one, "id": 0},
        {**one, "id": 0},
        {**two, "id": "0"},
        {**one, "id": None},
        {**one, "id": 7.0},
    ]
    found = dataset(path=write(tmp_path / "c.jsonl", *rows)).reading()
    assert (found.records, found.usable) == (6, 4)
    ids = [q.id for q in found.questions]
    assert ids[0] == "0" and ids[1].startswith("0-") and ids[2].startswith("q-") and ids[3] == "7"
    assert dict(found.dropped) == {"the same record again": 2}
    assert dict(found.repaired) == {"an id used twice, told apart by its content": 1}
    assert "1 without an id, named by their text" in found.remark


def test_sample_and_split_depend_on_the_question_alone(tmp_path: Path) -> None:
    rows = [records.flashrag(i) for i in range(400)]
    path, turned = write(tmp_path / "a.jsonl", *rows), write(tmp_path / "b.jsonl", *rows[::-1])
    few = {q.id for q in dataset(path=path, sample={"count": 40}).questions()}
    assert len(few) == 40
    assert few == {q.id for q in dataset(path=turned, sample={"count": 40}).questions()}
    assert few < {q.id for q in dataset(path=path, sample={"count": 80}).questions()}
    assert few != {q.id for q in dataset(path=path, sample={"count": 40, "seed": 1}).questions()}
    shares = {"train": 3, "test": 1}
    parts = [{q.id for q in dataset(path=path, split={"part": p, "shares": shares}).questions()} for p in shares]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 400
    assert 70 < len(parts[1]) < 130
    assert parts[1] == {q.id for q in dataset(path=turned, split={"part": "test", "shares": shares}).questions()}
    again = [{"id": f"again_{i}", "question": f"Who built BRIDGE {i}?", "answer": "x"} for i in range(100)]
    asked_again = dataset(path=write(tmp_path / "c.jsonl", *again), split={"part": "test", "shares": shares})
    assert {q.id.removeprefix("again_") for q in asked_again.questions()} == {
        str(i) for i in range(100) if f"test_{i}" in parts[1]
    }
    said = dataset(path=write(tmp_path / "d.jsonl", *rows[:5]), sample={"count": 9}).inspect()
    assert said == "5 questions; read as flashrag; a sample of 9 was asked for"
    for wrong in ({"part": "dev"}, {"part": "test", "shares": {"test": 0}}, {"part": "test", "shares": {}}):
        with pytest.raises(ValueError, match=r"expected|greater than 0"):
            dataset(path=path, split=wrong)


def test_a_sample_has_its_own_paragraphs(tmp_path: Path) -> None:
    rows = [records.hotpotqa(i) for i in range(6)]
    for i, row in enumerate(rows):
        row["context"].append([f"Only {i}", ["A paragraph of its own."]])
    path = write(tmp_path / "set.jsonl", *rows)
    part = dataset(path=path, sample={"count": 2})
    titles = {p.title for p in Paragraphs(of=part).passages() if p.title.startswith("Only")}
    assert titles == {f"Only {q.id[1:]}" for q in part.questions()}
    assert len(pooled(dataset(path=path, limit=4))) == 3 + 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b'{"question": "q"}\n',
            r"set\.json:1 \(record 1\): got the fields question, expected texts under question, and under golden",
        ),
        (b'[{"title": "t", "text": "x"}]', r"set\.json:1 \(record 1\): got passages .*expected questions"),
        (b'[{"prompt": "q", "gold": "x"}]', r"got the fields prompt, gold, expected .*type: table, fields"),
        (b"[" * 3000 + b"]" * 3000, r"set\.json:1 \(record 1\): got .*nested too deeply"),
        (
            b'{"question": "q", "answer": "x"}\n{"a":' + b"[" * 3000 + b"]" * 3000 + b"}\n",
            r":2: got .*nested too deeply",
        ),
        (b'[\n{"question": "q",\n"answer": "x"}\n{"a": 1}]', r"set\.json:4: got '\{' after record 1, expected a comma"),
        (b'[{"question": "q", "answer": "x"}, {"ques', r"set\.json:1 \(record 2\): got .*is it whole\?"),
        (b'[{"question": "q", "answer": "x"}', r"set\.json:1: got the end of the file after record 1"),
        (b'[{"question": "q", "answer": "x"}] [', r"set\.json:1: got '\[' after the array"),
        (b'[{"question": "q", "answer": "\\ud800"}]', r"set\.json:1 \(record 1\): got .*surrogates not allowed"),
        (b'[{"question": "q",\n "answer": "\xe9"}]', r"set\.json:2: got .*0xe9.*expected a text file in UTF-8"),
        (b"[1, 2]", r"set\.json:1 \(record 1\): got 1, expected a JSON object"),
        (b"[]", "got no record, expected at least one"),
        (b"", "got no record, expected at least one"),
        (b"PK\x03\x04xx", "is a zip archive: unpack it"),
        (b"<!DOCTYPE html>", "is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"PAR1 and no more", "Parquet"),
        (gzip.compress(b"[" + b"1" * 500, mtime=0)[:-9], "expected a file that can be read to its end"),
        (b"\x1f\x8b\x08\x00" + b"x" * 30, "expected a file that can be read to its end"),
    ],
)
def test_a_file_that_is_none_or_damaged_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(DataError, match=says):
        dataset(path=tmp_path / "set.json").questions()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("question,answer\nq,a,b\n", r"x\.csv:2: got 3 cells, expected 2: question, answer"),
        ('question,answer\n"q,a\n', r"x\.csv:1 or below: got unexpected end of data, expected CSV"),
        ("question,question\nq,a\n", "got the columns question, question, expected a name for each"),
        ("question,answer\n", "got no record"),
    ],
)
def test_a_malformed_table_is_told(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        dataset(path=tmp_path / "x.csv").questions()


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which is a folder, expected a file"):
        dataset(path=tmp_path).questions()
    with pytest.raises(DataError, match=r"nowhere\.json, which is no file"):
        dataset(path=tmp_path / "nowhere.json").questions()


def test_a_corpus_is_recognised_too_and_questions_are_none(tmp_path: Path) -> None:
    corpus = TypeAdapter(Corpus).validate_python({"path": write(tmp_path / "c.jsonl", {"id": 1, "contents": "T\nx"})})
    assert [(p.id, p.title, p.text) for p in corpus.passages()] == [("1", "T", "x")]
    path = write(tmp_path / "q.jsonl", records.hotpotqa(0))
    with pytest.raises(DataError, match=r"questions in the layout hotpotqa.*type: paragraphs, of: \{path: "):
        TypeAdapter(Corpus).validate_python({"path": path}).passages()


REAL = {
    "2wiki_dev_164.json": ("two_wiki", 164),
    "NQ-open.dev.jsonl": ("nq_open", 3610),
    "bamboogle_test_125.flashrag.jsonl": ("flashrag", 125),
    "flashrag_quickstart_nq17.jsonl": ("flashrag", 17),
    "hotpotqa_dev_distractor_200.json": ("hotpotqa", 200),
    "hotpotqa_dev_hfcolumns_100.json": ("hotpotqa", 100),
    "musique_ans_dev_200.jsonl": ("musique", 200),
    "nq_search_test.parquet": ("search_r1", 3610),
    "nq_test_1000.flashrag.jsonl": ("flashrag", 1000),
    "popqa_test_1000.flashrag.jsonl": ("flashrag", 1000),
    "triviaqa_test_1000.flashrag.jsonl": ("flashrag", 1000),
    "ultrarag_sample_nq_10.jsonl": ("flashrag", 10),
}


@pytest.mark.parametrize("name", REAL)
def test_real_records(name: str) -> None:
    if not (RECORDS / name).is_file():
        pytest.skip(f"got no {name}; SDSEARCH_RECORDS can name a folder with slices of published data sets")
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
    layout, count = REAL[name]
    found, as_named = dataset(path=RECORDS / name), dataset(type=layout, path=RECORDS / name)
    check_dataset(found)
    assert (len(found.questions()), found.reading().dropped.total()) == (count, 0)
    assert f"read as {layout}" in found.remark()
    assert as_named.questions() == found.questions()
    assert not any('""' in text for q in found.questions() for text in (q.text, *q.answers))
    if layout in ("hotpotqa", "two_wiki", "musique"):
        pool = pooled(found)
        assert all(2 <= len(q.gold) <= 5 and pool.issuperset(q.gold) and q.kind for q in found.questions())
    if layout == "musique":
        assert all(
            len(q.hops) == int(q.kind[0]) and set(q.gold) == {h.passage for h in q.hops} for q in found.questions()
        )
        assert all(q.hops[-1].answer == q.answers[0] for q in found.questions())
        assert "#1" not in " ".join(h.query for q in found.questions() for h in q.hops)
    if layout == "two_wiki":
        assert all(q.hops for q in found.questions())


def popqa(record: dict[str, Any]) -> list[str]:
    return [*json.loads(record["metadata"]["o_aliases"])]


def musique(record: dict[str, Any]) -> list[str]:
    return [record["answer"], *record["answer_aliases"]]


@pytest.mark.parametrize(
    ("name", "aliases"), [("popqa_test_1000.flashrag.jsonl", popqa), ("musique_ans_dev_200.jsonl", musique)]
)
def test_real_aliases_are_all_there(name: str, aliases: Callable[[dict[str, Any]], list[str]]) -> None:
    if not (RECORDS / name).is_file():
        pytest.skip(f"got no {name}; SDSEARCH_RECORDS can name a folder with slices of published data sets")
    lines = (RECORDS / name).read_text().splitlines()
    for line, question in zip(lines, dataset(path=RECORDS / name).questions(), strict=True):
        assert {a.strip() for a in aliases(json.loads(line))} - {""} <= set(question.answers)


def test_a_path_over_another_data_set_says_how_to_replace_it() -> None:
    specs = Path(__file__).parents[3] / "specs"
    with pytest.raises(SpecError, match=r"data\.train\.path: unknown key.*`type: auto` has it"):
        load(specs / "grpo.yaml", ["data.train.path=x.json"])
    replaced = load(specs / "grpo.yaml", ["data.train={type: auto, path: x.json}"])
    assert replaced.data
    assert replaced.data.train == dataset(path="x.json")

"""A field map, a mixture, pooled paragraphs and the hub: data sets that name others or their fields."""

import json
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Passage
from sdsearch.errors import DataError
from sdsearch.testing import check_dataset, records


def dataset(**settings: Any) -> Dataset:
    return TypeAdapter(Dataset).validate_python(settings)


def corpus(**settings: Any) -> Corpus:
    return TypeAdapter(Corpus).validate_python(settings)


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_fields_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text(
        "key;asked;gold;aliases;about;proof\n7;Who?;Ida;['I.', 'Oak'];person;p1\n8;When?;1995;;date;[2, 3]\n"
    )
    fields = {"question": "asked", "answers": ["gold", "aliases"], "id": "key", "kind": "about", "gold": "proof"}
    found = dataset(type="table", path=path, fields=fields)
    check_dataset(found)
    assert [(q.id, q.text, q.answers, q.kind, q.gold) for q in found.questions()] == [
        ("7", "Who?", ("Ida", "I.", "Oak"), "person", ("p1",)),
        ("8", "When?", ("1995",), "date", ("2", "3")),
    ]
    with pytest.raises(DataError, match=r"set\.csv:2: got the fields key, .*expected askd; did you mean \"asked\""):
        dataset(type="table", path=path, fields={"question": "askd", "answers": ["gold"]}).questions()
    with pytest.raises(DataError, match="expected texts under golden_answers"):
        dataset(type="table", path=path, fields={"question": "asked"}).questions()


def test_fields_may_lie_deep_and_columns_be_named(tmp_path: Path) -> None:
    row = {"q": {"text": "Who?"}, "reward_model": {"ground_truth": {"target": ["Ida", "Oak"]}}}
    fields = {"question": "q.text", "answers": ["reward_model.ground_truth.target"]}
    (found,) = dataset(type="table", path=lines(tmp_path / "a.jsonl", row), fields=fields).questions()
    assert (found.text, found.answers) == ("Who?", ("Ida", "Oak"))
    (tmp_path / "b.csv").write_text("who built it?\t['Ida', \"O'Ak\"]\nwhen?\t['1995']\n")
    both = dataset(type="table", path=tmp_path / "b.csv", header=["question", "answers"]).questions()
    assert [q.answers for q in both] == [("Ida", "O'Ak"), ("1995",)]


def test_passages_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("id\ttext\ttitle\n1\tAsh is a tree.\tAsh\n2\tOak is one.\t\n")
    assert corpus(type="table", path=tmp_path / "c.tsv").passages() == (
        Passage("1", "Ash", "Ash is a tree."),
        Passage("2", "", "Oak is one."),
    )
    path = lines(tmp_path / "d.jsonl", {"key": 5, "body": "Line\nand line.", "name": '"Yew"'})
    fields = {"text": "body", "title": "name", "id": "key"}
    assert corpus(type="table", path=path, fields=fields).passages() == (Passage("5", '"Yew"', "Line\nand line."),)
    with pytest.raises(DataError, match='expected bdy; did you mean "body"'):
        corpus(type="table", path=path, fields={"text": "bdy"}).passages()


def test_a_corpus_in_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"id": i, "contents": f'"Title {i}"\nText {i}.', "score": None} for i in range(2500)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    found = corpus(path=tmp_path / "c.parquet")
    assert found.passages()[2400] == Passage("2400", "Title 2400", "Text 2400.")
    assert found.inspect() == "2,500 passages"
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.parquet: got .* expected Parquet"):
        corpus(path=tmp_path / "cut.parquet").passages()


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"needs the package pyarrow, which is not installed: pip install .*(parquet|pyarrow)"
    ):
        dataset(path=tmp_path / "x.parquet").questions()


def test_the_same_passage_twice_is_one_and_another_of_its_id_is_refused(tmp_path: Path) -> None:
    one = {"id": "1", "title": "Ash", "text": "A tree."}
    found = corpus(path=lines(tmp_path / "c.jsonl", one, one, {"text": "No id."}))
    assert len(found.passages()) == 2
    assert found.inspect() == (
        "2 passages; repaired 1 (no id, made of the content, first at c.jsonl:3); "
        "dropped 1 (the same passage again, first at c.jsonl:2)"
    )
    with pytest.raises(DataError, match=r"c\.jsonl:2: got the id '1' of line 1 again"):
        corpus(path=lines(tmp_path / "c.jsonl", one, {**one, "text": "Another."})).passages()


def mixture(tmp_path: Path, sizes: dict[str, int], **settings: Any) -> Dataset:
    of = {
        name: {"path": lines(tmp_path / f"{name}.jsonl", *(records.flashrag(i) for i in range(size)))}
        for name, size in sizes.items()
    }
    return dataset(type="mixture", of=of, **settings)


def test_a_mixture_holds_all_and_says_where_from(tmp_path: Path) -> None:
    found = mixture(tmp_path, {"nq": 30, "pop": 10})
    check_dataset(found)
    questions = found.questions()
    assert Counter(q.source for q in questions) == {"nq": 30, "pop": 10}
    assert {q.id for q in questions} == {f"{n}/test_{i}" for n, s in (("nq", 30), ("pop", 10)) for i in range(s)}
    for end in range(4, 41, 4):
        assert Counter(q.source for q in questions[:end]) == {"nq": end * 3 // 4, "pop": end // 4}
    assert found.inspect() == "40 questions; nq 30 (read as flashrag), pop 10 (read as flashrag)"


def test_weights_are_the_shares_of_every_stretch(tmp_path: Path) -> None:
    found = mixture(tmp_path, {"nq": 30, "pop": 10}, weights={"nq": 1, "pop": 4})
    questions = found.questions()
    assert Counter(q.source for q in questions[:10]) == {"nq": 2, "pop": 8}
    assert Counter(q.source for q in questions) == {"nq": 2, "pop": 10}
    assert len({q.id for q in questions}) == len(questions)
    assert "nq 2 of 30" in found.remark()
    other = mixture(tmp_path, {"nq": 30, "pop": 10}, weights={"nq": 1, "pop": 4}, seed=1).questions()
    assert [q.source for q in other] == [q.source for q in questions]
    assert {q.id for q in other} != {q.id for q in questions}
    assert mixture(tmp_path, {"nq": 30, "pop": 10}, weights={"nq": 1, "pop": 4}, size=5).questions() == questions[:5]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"nq": 1}, "got none for pop"),
        ({"nq": 1, "pop": 0}, "weights.pop\n  Input should be greater than 0"),
        ({"nq": 1, "popp": 1}, 'got "popp", expected a part; did you mean "pop"'),
    ],
)
def test_weights_that_do_not_fit_are_told(tmp_path: Path, weights: dict[str, float], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        mixture(tmp_path, {"nq": 3, "pop": 3}, weights=weights)


def test_paragraphs_of_a_mixture_are_pooled_and_gold_is_found(tmp_path: Path) -> None:
    of = {
        "hotpotqa": {"path": lines(tmp_path / "a.jsonl", *(records.hotpotqa(i) for i in range(3)))},
        "musique": {"path": lines(tmp_path / "b.jsonl", *(records.musique(i) for i in range(3)))},
    }
    asked = dataset(type="mixture", of=of)
    pool = corpus(type="paragraphs", of={"type": "mixture", "of": of})
    assert [p.title for p in pool.passages()] == list(records.PARAGRAPHS)
    check_dataset(asked)
    assert {g for q in asked.questions() for g in q.gold} <= {p.id for p in pool.passages()}
    assert pool.inspect() == "3 passages"
    with pytest.raises(DataError, match="comes without paragraphs"):
        corpus(type="paragraphs", of={"type": "atlas"}).passages()


def test_the_hub_is_asked_through_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*names: Any, **about: Any) -> list[dict[str, Any]]:
        asked.append((*names, about))
        return [records.hotpotqa_columns(i) for i in range(3)]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    found = dataset(type="hugging_face", name="some/hotpot_qa", config="distractor", part="validation", revision="ab")
    check_dataset(found)
    assert found.inspect() == "3 questions; read as hotpotqa"
    assert asked[0] == ("some/hotpot_qa", "distractor", {"split": "validation", "revision": "ab"})
    assert found.questions()[0].source == "hotpot_qa"
    assert len(corpus(type="paragraphs", of=found.model_dump()).passages()) == 3


def test_a_hub_that_cannot_be_reached_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*names: Any, **about: Any) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match=r"a/b: could not be loaded \(ConnectionError: no route\), expected"):
        dataset(type="hugging_face", name="a/b").questions()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="needs the package datasets, which is not installed: pip install"):
        dataset(type="hugging_face", name="a/c").questions()

"""Passages of a large file, read when they are asked for, are those of a small one."""

import json
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.contracts.data import Stored
from sdsearch.envs.data.auto import AutoPassages
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.errors import DataError
from sdsearch.retrieval import corpora


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for a large one."""
    monkeypatch.setattr("sdsearch.envs.data.reading.passages.LARGE", -1)


def written(path: Path, records: list[dict[str, Any]], blank: str = "\n") -> JsonlPassages:
    path.write_text("".join(json.dumps(r, ensure_ascii=i % 2 == 0) + blank for i, r in enumerate(records)), "utf-8")
    return JsonlPassages(path=path)


def lazily(corpus: JsonlPassages) -> Stored:
    rows = corpus.lazily()
    assert rows is not None
    return rows


word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda t: bool(t.strip()))


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(word, min_size=1, max_size=12), numbered=st.booleans(), blank=st.sampled_from(["\n", "\n\n", "\r\n"])
)
def test_they_are_the_same_passages(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], numbered: bool, blank: str
) -> None:
    records = [
        {"id": str(i % 5), "text": texts[i % 5 % len(texts)]} if numbered else {"text": t} for i, t in enumerate(texts)
    ]
    corpus = written(tmp_path_factory.mktemp("lines") / "corpus.jsonl", records, blank)
    rows = lazily(corpus)
    assert [*rows] == [*corpus.passages()]
    assert rows[:] == [*rows] and rows[1:3] == [*rows][1:3] and rows[-1] == [*rows][-1]
    assert len(corpus.rows()) == len(records), "what an index counts its rows by has all of them"
    assert lazily(corpus).fingerprint == rows.fingerprint


def test_content_order_and_ids_make_the_fingerprint(tmp_path: Path) -> None:
    one, two = {"id": "a", "text": "x"}, {"id": "b", "text": "y"}
    variants = [[one, two], [two, one], [one], [one, two | {"text": "z"}], [one, two | {"id": "c"}]]
    prints = [lazily(written(tmp_path / "c.jsonl", records)).fingerprint for records in variants]
    assert len(set(prints)) == len(variants)


def test_an_id_of_two_passages_is_refused(tmp_path: Path) -> None:
    corpus = written(
        tmp_path / "c.jsonl", [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}]
    )
    with pytest.raises(DataError, match=r"c\.jsonl: record 3: got the id 'a' of record 1 again, expected unique ids"):
        corpus.lazily()
    assert [p.text for p in corpus.rows()] == ["x", "y", "z"]


def test_a_line_that_is_no_passage_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl:2: got the fields id, expected a text under text"):
        JsonlPassages(path=tmp_path / "c.jsonl").lazily()
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a", "text": "x" * (2**20 + 1)}) + "\n")
    with pytest.raises(DataError, match=r"c\.jsonl:1: got the passage 'a' of 1,048,577 characters"):
        JsonlPassages(path=tmp_path / "c.jsonl").lazily()


def test_a_file_that_changes_under_a_search_is_told(tmp_path: Path) -> None:
    rows = lazily(written(tmp_path / "c.jsonl", [{"id": "a", "text": "first"}, {"id": "b", "text": "second"}]))
    with (tmp_path / "c.jsonl").open("r+") as file:
        file.write('{"id": "a", "text": "other"}')
    with pytest.raises(DataError, match=r"c\.jsonl has changed while it was searched"):
        rows[0]
    assert rows[1].text == "second"


@pytest.mark.parametrize(("name", "packed"), [("c.json", False), ("c.jsonl", True)])
def test_other_layouts_are_held(tmp_path: Path, name: str, packed: bool) -> None:
    import gzip

    data = b'[{"id": "a", "text": "x"}]' if not packed else gzip.compress(b'{"id": "a", "text": "x"}\n')
    (tmp_path / name).write_bytes(data)
    corpus = AutoPassages(path=tmp_path / name)
    assert corpus.lazily() is None
    assert [p.text for p in corpora.ordered(corpus)] == ["x"]


def test_threads_read_at_once(tmp_path: Path) -> None:
    rows = lazily(written(tmp_path / "c.jsonl", [{"id": str(i), "text": f"text {i} " * 300} for i in range(50)]))
    expected, wrong = [*rows], list[int]()

    def read(step: int) -> None:
        wrong.extend(i for n in range(200) if rows[i := n * step % 50] != expected[i])

    threads = [threading.Thread(target=read, args=(step,)) for step in (1, 7, 13, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_text_stays_in_memory(tmp_path: Path) -> None:
    count, length = 4000, 2000
    corpus = written(tmp_path / "c.jsonl", [{"id": str(i), "text": f"{i:x} " * (length // 4)} for i in range(count)])
    tracemalloc.start()
    rows = lazily(corpus)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count
    assert kept < 60 * count and peak < 200 * count + 200_000, "24 bytes a passage stay, twice that while they are read"

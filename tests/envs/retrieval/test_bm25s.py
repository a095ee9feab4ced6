import gc
import subprocess
import sys
from pathlib import Path

import pytest

from sdsearch.core.question import Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.bm25 import BM25, BM25Searcher
from sdsearch.envs.retrieval.bm25s import BM25S
from sdsearch.errors import IndexMismatch
from sdsearch.retrieval.index import read, seal
from sdsearch.testing import check_retriever

pytest.importorskip("bm25s")

QUERIES = ["fortress on the river Dorn", "harbour harbour Place 7", "Twin rocks", "unheard-of nonsense"]


@pytest.mark.parametrize("kept", [True, False])
def test_keeps_the_contract(corpus: JsonlPassages, tmp_path: Path, kept: bool) -> None:
    check_retriever(BM25S(corpus=corpus, path=tmp_path / "index" if kept else None).open(), corpus.passages())


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (0.0, 1.0)])
def test_it_finds_what_our_own_finds_with_scores_by_a_factor(corpus: JsonlPassages, k1: float, b: float) -> None:
    """Lucene leaves the factor k1 + 1 out."""
    theirs, ours = BM25S(corpus=corpus, k1=k1, b=b).open(), BM25(corpus=corpus, k1=k1, b=b).open()
    assert isinstance(ours, BM25Searcher)
    for one, two in zip(theirs.search(QUERIES, 7), ours.search(QUERIES, 7), strict=True):
        assert [h.score * (k1 + 1) for h in one] == pytest.approx([h.score for h in two], abs=3e-4)
    assert theirs.search(QUERIES, 7)[3] == ours.search(QUERIES, 7)[3] == []


def test_it_is_kept_and_opened_without_writing(
    corpus: JsonlPassages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = BM25S(corpus=corpus, path=tmp_path / "index")
    first = retriever.open().search(QUERIES, 5)
    before = {file: file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file()}
    monkeypatch.setattr(BM25S, "_built", None)
    assert retriever.open().search(QUERIES, 5) == first
    monkeypatch.setattr("sdsearch.retrieval.vectors.MAPPED", 0)
    mapped = retriever.open()
    assert type(mapped.index.scores["data"]).__name__ == "memmap"
    assert mapped.search(QUERIES, 5) == first
    assert {file: file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file()} == before
    del mapped
    gc.collect()


def test_a_damaged_index_is_built_again(
    corpus: JsonlPassages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retriever = BM25S(corpus=corpus, path=tmp_path / "index")
    first = retriever.open().search(QUERIES, 5)
    for file in sorted((tmp_path / "index").glob("*/*")):
        whole = bytearray(file.read_bytes())
        whole[len(whole) // 2] ^= 4
        file.write_bytes(whole)
        capsys.readouterr()
        assert retriever.open().search(QUERIES, 5) == first
        assert "is damaged (" in capsys.readouterr().err, file


def test_an_index_of_other_words_under_right_checksums_is_refused(corpus: JsonlPassages, tmp_path: Path) -> None:
    retriever = BM25S(corpus=corpus, path=tmp_path / "index")
    retriever.open()
    (place,) = (tmp_path / "index").glob("bm25s-*")
    facts = read(place / "index.json")["facts"]
    corpus.path.write_text(corpus.path.read_text().replace("Place", "Spot").replace("Twin", "Pair"))
    BM25S(corpus=corpus)._built(corpus.passages()).save(place, show_progress=False)
    seal(place, facts)
    corpus.path.write_text(corpus.path.read_text().replace("Spot", "Place").replace("Pair", "Twin"))
    with pytest.raises(IndexMismatch, match="does not hold the words of"):
        retriever.open()


def test_passages_without_words(tmp_path: Path) -> None:
    class Bare(JsonlPassages):
        def passages(self) -> list[Passage]:
            return [Passage("a", "", "?!"), Passage("b", "", "...")]

    assert BM25S(corpus=Bare(path=tmp_path)).open().search(["?!", "word"], 2) == [[], []]


def test_reading_a_spec_imports_nothing() -> None:
    code = "import sys, sdsearch.envs.retrieval.bm25s, sdsearch.envs.retrieval.faiss; "
    subprocess.run([sys.executable, "-c", code + "assert not {'bm25s', 'faiss'} & set(sys.modules)"], check=True)

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.retrieval.faiss import Faiss
from sdsearch.errors import IndexMismatch, IndexUnwritable
from sdsearch.testing import check_retriever

faiss = pytest.importorskip("faiss")

Kind = Literal["flat", "hnsw", "ivf"]
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivf")
QUERIES = ["fortress on the river Dorn", "Twin rocks", "Place 77"]


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_contract_and_agrees_with_exact_search(corpus: JsonlPassages, tmp_path: Path, kind: Kind) -> None:
    retriever = Faiss(corpus=corpus, embedder=Hashing(), path=tmp_path / "index", kind=kind)
    searcher = retriever.open()
    check_retriever(searcher, corpus.passages())
    expected = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open().search(QUERIES, 5)
    for hits, true in zip(searcher.search(QUERIES, 5), expected, strict=True):
        assert [h.passage.id for h in hits] == [h.passage.id for h in true]
        assert [h.score for h in hits] == pytest.approx([h.score for h in true], abs=2e-6)
    assert retriever.open().search(QUERIES, 5) == searcher.search(QUERIES, 5)
    assert len(list((tmp_path / "index").glob("vectors-*"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_index_is_built_again_before_faiss_reads_it(
    corpus: JsonlPassages, tmp_path: Path, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    retriever = Faiss(corpus=corpus, embedder=Hashing(), path=tmp_path, kind=kind)
    first = retriever.open().search(QUERIES, 5)
    (file,) = tmp_path.glob("faiss-*/faiss.index")
    whole = file.read_bytes()
    for damaged in (whole[:-3], b"\xff" * len(whole), whole[:40] + b"\xff" * 8 + whole[48:]):
        file.write_bytes(damaged)
        capsys.readouterr()
        assert retriever.open().search(QUERIES, 5) == first
        assert "is damaged (faiss.index" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_while_faiss_writes_is_an_error_of_ours(
    corpus: JsonlPassages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdsearch.envs.retrieval.faiss.FILE", "/dev/full")
    with pytest.raises(IndexUnwritable, match=r"cannot be written \(.*write error in /dev/full"):
        Faiss(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open()


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, Any]:
    """Return an index as Search-R1 has it: a flat file of inner products, and a corpus whose line number is the id."""
    lines = [{"id": str(i), "contents": f'"Town {i}"\nTown {i} has {i * i} people.'} for i in range(40)]
    lines[7] = lines[3] | {"id": "7"}  # the same text twice
    (tmp_path / "wiki-18.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = JsonlPassages(path=tmp_path / "wiki-18.jsonl")
    index = faiss.IndexFlatIP(512)
    index.add(Hashing().open().encode_passages([p.contents for p in corpus.rows()]))
    faiss.write_index(index, str(tmp_path / "e5_Flat.index"))
    return {"corpus": corpus, "embedder": Hashing(), "index": tmp_path / "e5_Flat.index"}


def test_an_index_made_elsewhere(elsewhere: dict[str, Any]) -> None:
    before = elsewhere["index"].read_bytes()
    retriever = Faiss(**elsewhere)
    assert retriever.inspect() == f"{elsewhere['index']} holds 40 vectors of 512 numbers (IndexFlatIP)"
    searcher = retriever.open()
    check_retriever(searcher, elsewhere["corpus"].passages())
    (hits,) = searcher.search(["Town 12"], 1)
    assert (hits[0].passage.id, hits[0].passage.title) == ("12", "Town 12")
    assert elsewhere["index"].read_bytes() == before


def test_a_euclidean_index_made_elsewhere_gives_cosines(elsewhere: dict[str, Any]) -> None:
    expected = Faiss(**elsewhere).open().search(["Town 12", "Town 3"], 4)
    index = faiss.IndexFlatL2(512)
    index.add(Hashing().open().encode_passages([p.contents for p in elsewhere["corpus"].rows()]))
    faiss.write_index(index, str(elsewhere["index"]))
    for hits, true in zip(Faiss(**elsewhere).open().search(["Town 12", "Town 3"], 4), expected, strict=True):
        assert [h.score for h in hits] == pytest.approx([h.score for h in true], abs=2e-6)


def test_a_large_corpus_made_elsewhere_is_read_where_it_lies(
    elsewhere: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Faiss(**elsewhere).open().search(["Town 12", "Town 3"], 4)
    monkeypatch.setattr("sdsearch.envs.data.reading.passages.LARGE", 0)
    monkeypatch.setattr("sdsearch.retrieval.vectors.MAPPED", 0)
    searcher = Faiss(**elsewhere).open()
    assert type(searcher.passages).__name__ == "Lines"
    assert searcher.search(["Town 12", "Town 3"], 4) == expected


def shuffled(given: dict[str, Any]) -> None:
    lines = given["corpus"].path.read_text().splitlines(keepends=True)
    given["corpus"].path.write_text("".join(lines[::-1]))


def shorter(given: dict[str, Any]) -> None:
    given["corpus"].path.write_text("".join(given["corpus"].path.read_text().splitlines(keepends=True)[:-1]))


def other_size(given: dict[str, Any]) -> None:
    given["embedder"] = Hashing(dim=64)


def other_embedder(given: dict[str, Any]) -> None:
    given["embedder"] = Hashing(ngram=5)


def no_index(given: dict[str, Any]) -> None:
    given["index"].write_bytes(b"no index at all")


def cut(given: dict[str, Any]) -> None:
    given["index"].write_bytes(given["index"].read_bytes()[:-100])


def missing(given: dict[str, Any]) -> None:
    given["index"].unlink()


def overwritten(given: dict[str, Any]) -> None:
    data = given["index"].read_bytes()
    noise = np.random.default_rng(0).normal(size=512 * 40).astype(np.float32).tobytes()
    given["index"].write_bytes(data[: -len(noise)] + noise)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (shuffled, "does not find its own passages"),
        (shorter, "holds 40 vectors and the corpus 39 records: expected one for each"),
        (other_size, "vectors of 512 numbers and the embedder makes 64"),
        (other_embedder, "does not find its own passages"),
        (no_index, "cannot be read as a FAISS index"),
        (cut, "cannot be read as a FAISS index"),
        (missing, "which is no file"),
        (overwritten, "does not find its own passages"),
    ],
)
def test_an_index_that_is_not_of_this_corpus_and_embedder(
    elsewhere: dict[str, Any], change: Any, complaint: str
) -> None:
    change(elsewhere)
    with pytest.raises(IndexMismatch, match=complaint) as caught:
        Faiss(**elsewhere).open()
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"index": "x", "kind": "ivf"}, "`kind` is about an index that is built"),
        ({"kind": "flat", "probes": 3}, "`probes` is not about the kind flat"),
        ({"kind": "ivf", "ef_search": 3}, "`ef_search` is not about the kind ivf"),
    ],
)
def test_settings_that_would_do_nothing(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Faiss(corpus="atlas", embedder="hashing", **settings)


def test_the_seed_and_the_width_of_a_search_count(corpus: JsonlPassages) -> None:
    wide, narrow = (
        Faiss(corpus=corpus, embedder=Hashing(), kind="ivf", lists=20, probes=probes).open() for probes in (20, 1)
    )
    assert wide.index.nlist == 20  # type: ignore[attr-defined]
    assert narrow.search(QUERIES, 20) != wide.search(QUERIES, 20)
    expected = Exact(corpus=corpus, embedder=Hashing()).open().search(QUERIES, 20)
    assert [[h.passage.id for h in hits] for hits in wide.search(QUERIES, 20)] == [
        [h.passage.id for h in hits] for hits in expected
    ]

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from pydantic import ValidationError

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.chroma import Chroma
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.errors import IndexMismatch, IndexUnwritable, RetrieverUnavailable
from sdsearch.retrieval import vectors
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.chroma_database import local
from sdsearch.retrieval.existing_collection import own_embedder
from sdsearch.retrieval.index import read, seal
from sdsearch.retrieval.opening import opened
from sdsearch.retrieval.patience import Patience
from sdsearch.testing import check_retriever

QUERY = "fortress on the river Dorn"

OPEN = """
import sys
from pathlib import Path
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.chroma import Chroma

corpus, index, query = JsonlPassages(path=sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
searcher = Chroma(corpus=corpus, embedder=Hashing(), path=index, batch_size=20).open()
print([h.passage.id for h in searcher.search([query], 5)[0]])
"""

DYING = """
import os, signal
from chromadb.api.models.Collection import Collection

add, calls = Collection.add, 0

def dying(self, **kwargs):
    global calls
    calls += 1
    if calls == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, **kwargs)

Collection.add = dying
"""


def start(code: str, corpus: JsonlPassages, index: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", code, str(corpus.path), str(index), QUERY]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ids(retriever: Chroma | Exact, k: int = 5) -> list[str]:
    return [h.passage.id for h in retriever.open().search([QUERY], k)[0]]


def test_keeps_the_contract_in_memory(corpus: JsonlPassages) -> None:
    check_retriever(Chroma(corpus=corpus, embedder=Hashing()).open(), corpus.passages())


def test_keeps_the_contract_on_disk(corpus: JsonlPassages, tmp_path: Path) -> None:
    check_retriever(Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open(), corpus.passages())


def test_agrees_with_exact_search(corpus: JsonlPassages) -> None:
    queries = [p.contents for p in corpus.passages()]
    chroma = Chroma(corpus=corpus, embedder=Hashing()).open().search(queries, 3)
    exact = Exact(corpus=corpus, embedder=Hashing()).open().search(queries, 3)
    scores = [[h.score for h in hits] for hits in chroma], [[h.score for h in hits] for hits in exact]
    assert np.allclose(*scores, atol=1e-5)
    found = sum(len({h.passage.id for h in a} & {h.passage.id for h in b}) for a, b in zip(chroma, exact, strict=True))
    assert found / (3 * len(queries)) >= 0.99


def test_equal_passages_go_by_id(corpus: JsonlPassages) -> None:
    searcher = Chroma(corpus=corpus, embedder=Hashing()).open()
    assert [h.passage.id for h in searcher.search(["Twin Rocks"], 2)[0]] == ["z1", "z2"]
    assert [h.passage.id for h in searcher.search(["Twin Rocks"], 1)[0]] == ["z1"]


def test_reopens_in_another_process_without_embedding_again(
    corpus: JsonlPassages, tmp_path: Path, embedded: list[int]
) -> None:
    child = start(OPEN, corpus, tmp_path / "index")
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert "indexing passages: 200/200" in err
    assert str(ids(Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path / "index"))) == out.strip()
    assert embedded == [vectors.CHECKED]


def test_finds_the_same_each_time_it_is_opened(corpus: JsonlPassages, tmp_path: Path) -> None:
    # So coarse that another graph finds other passages: a part that is placed anew at each opening would show.
    queries = [p.contents for p in corpus.passages()]
    coarse = Chroma(
        corpus=corpus,
        embedder=Hashing(),
        path=tmp_path,
        ef_construction=8,
        max_neighbors=4,
        ef_search=8,
        batch_size=130,
    )
    found = []
    for _ in range(4):
        found.append([[h.passage.id for h in hits] for hits in coarse.open().search(queries, 5)])
    assert found[1:] == found[:1] * 3
    exact = Exact(corpus=corpus, embedder=Hashing()).open().search(queries, 5)
    assert found[0] != [[h.passage.id for h in hits] for hits in exact]


def test_processes_that_start_together_share_one_index(corpus: JsonlPassages, tmp_path: Path) -> None:
    children = [start(OPEN, corpus, tmp_path / "index") for _ in range(3)]
    results = [c.communicate(timeout=300) for c in children]
    assert [c.returncode for c in children] == [0, 0, 0], results
    assert len({out for out, _ in results}) == 1
    assert sum("indexing passages" in err for _, err in results) == 1


def test_a_killed_build_is_never_taken_for_an_index(corpus: JsonlPassages, tmp_path: Path) -> None:
    index = tmp_path / "index"
    child = start(DYING + OPEN, corpus, index)
    child.communicate(timeout=300)
    assert child.returncode == -signal.SIGKILL
    assert not list(index.glob("sdsearch-*"))
    expected = ids(Exact(corpus=corpus, embedder=Hashing()))
    assert ids(Chroma(corpus=corpus, embedder=Hashing(), path=index)) == expected
    assert len(list(index.glob("sdsearch-*"))) == 1 and not list(index.glob(".*building"))


def test_a_pinned_collection_that_does_not_match_is_told(corpus: JsonlPassages, tmp_path: Path) -> None:
    index = tmp_path / "index"
    Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places").open()
    with pytest.raises(IndexMismatch, match=r"embedder is hashing-1-512-3, expected hashing-1-64-3\. Name another"):
        Chroma(corpus=corpus, embedder=Hashing(dim=64), path=index, collection="places").open()
    with pytest.raises(IndexMismatch, match=r"places was .* ef_search is 800, expected 50"):
        Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places", ef_search=50).open()
    corpus.path.write_text(corpus.path.read_text().replace("Place 7 is a", "Place 7 was a"))
    with pytest.raises(IndexMismatch, match=r"corpus is [0-9a-f]{64}, expected [0-9a-f]{64}\."):
        Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places").open()


def test_without_a_pinned_name_several_indexes_live_side_by_side(corpus: JsonlPassages, tmp_path: Path) -> None:
    for dim in (64, 512, 64):
        Chroma(corpus=corpus, embedder=Hashing(dim=dim), path=tmp_path).open()
    assert len(list(tmp_path.glob("sdsearch-*"))) == 2


def test_a_collection_that_changes_behind_our_back_is_an_outage(corpus: JsonlPassages, tmp_path: Path) -> None:
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path).open()
    vector = Hashing().open().encode_passages([QUERY])
    searcher.collection.add(ids=["intruder"], embeddings=vector)
    with pytest.raises(RetrieverUnavailable, match="answered wrongly: with 'intruder', which is not in the corpus"):
        searcher.search([QUERY], 3)
    again = Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path).open()
    assert [h.passage.id for h in again.search([QUERY], 5)[0]] == ids(Exact(corpus=corpus, embedder=Hashing()))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture
def index(corpus: JsonlPassages, tmp_path: Path) -> Path:
    """Return the folder of a complete index and its vectors."""
    Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open()
    return tmp_path / "index"


def test_opening_and_searching_changes_nothing(corpus: JsonlPassages, index: Path) -> None:
    before = bytes_of(index)
    retriever = Chroma(corpus=corpus, embedder=Hashing(), path=index)
    assert ids(retriever) == ids(Exact(corpus=corpus, embedder=Hashing(), path=index))
    assert retriever.inspect() == f"{index} holds 1 indexes"
    assert bytes_of(index) == before


def test_whatever_is_damaged_is_built_again_with_the_same_answers(
    corpus: JsonlPassages, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file of an index and its vectors, with a flipped byte, cut short, emptied and missing."""
    expected = ids(Exact(corpus=corpus, embedder=Hashing()))
    dice = Random(0)
    (place,) = index.glob("sdsearch-*")
    names = [file.relative_to(index) for file in index.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert len(names) == 9
    for name in names:
        for damage in dice.sample(["flipped", "cut", "emptied", "missing"], 2):
            # A graph has another name each time that it is built.
            (file,) = index.glob(str(name) if len(name.parts) < 3 else f"{place.name}/*/{name.name}")
            whole = bytearray(file.read_bytes())
            whole[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
            if damage == "missing":
                file.unlink()
            else:
                changed = {"flipped": bytes(whole), "cut": bytes(whole[: len(whole) // 2]), "emptied": b""}
                file.write_bytes(changed[damage])
            capsys.readouterr()
            kind = Exact if name.parts[0].startswith("vectors") else Chroma
            assert ids(kind(corpus=corpus, embedder=Hashing(), path=index)) == expected, (name, damage)
            assert "is damaged (" in capsys.readouterr().err, (name, damage)
    shutil.rmtree(next(p for p in place.iterdir() if p.is_dir()))
    assert ids(Chroma(corpus=corpus, embedder=Hashing(), path=index)) == expected


def test_a_graph_of_another_corpus_under_right_checksums_is_refused(corpus: JsonlPassages, index: Path) -> None:
    (place,) = index.glob("sdsearch-*")
    facts = read(place / "index.json")["facts"]
    with closing(local(place)) as other:
        (theirs,) = other.list_collections()
        rows = np.random.default_rng(0).normal(size=(200, 512)).astype(np.float32)
        theirs.update(ids=[str(i) for i in range(200)], embeddings=rows)
    seal(place, facts)
    with pytest.raises(IndexMismatch, match="does not find its own passages"):
        Chroma(corpus=corpus, embedder=Hashing(), path=index).open()


def test_a_folder_removed_under_an_open_index(corpus: JsonlPassages, index: Path) -> None:
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=index).open()
    (expected,) = searcher.search([QUERY], 5)
    shutil.rmtree(index)
    assert searcher.search([QUERY], 5) == [expected]
    out, error = start(OPEN, corpus, index).communicate(timeout=60)
    assert out.strip() == str([h.passage.id for h in expected]), error


def test_the_private_copy_goes_with_the_searcher(
    corpus: JsonlPassages, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=index).open()
    assert len(list(tmp_path.glob("sdsearch-chroma-*"))) == 1
    del searcher
    gc.collect()
    assert not list(tmp_path.glob("sdsearch-chroma-*"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_whole_index_on_a_disk_that_may_only_be_read(
    corpus: JsonlPassages, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writes into the folder fails, as it would there; permissions alone do not stop a superuser."""
    for lock in index.glob(".*.lock"):
        lock.unlink()
    refused = forbid(index, monkeypatch)
    assert ids(Chroma(corpus=corpus, embedder=Hashing(), path=index))
    assert ids(Exact(corpus=corpus, embedder=Hashing(), path=index))
    with pytest.raises(IndexUnwritable, match=r"cannot be written \(Read-only file system\)"):
        Chroma(corpus=corpus, embedder=Hashing(dim=64), path=index).open()
    assert refused


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `os.mkdir` and `os.open` for writing fail below a folder; return what was refused."""
    refused: list[str] = []

    def strict(function: Any) -> Any:
        def call(path: Any, *rest: Any, **named: Any) -> Any:
            writes = function is os.mkdir or (rest and rest[0] & (os.O_WRONLY | os.O_RDWR))
            if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(folder) and writes:
                if function is os.mkdir and Path(path).is_dir():
                    raise FileExistsError(errno.EEXIST, "File exists", str(path))
                refused.append(str(path))
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            return function(path, *rest, **named)

        return call

    monkeypatch.setattr(os, "mkdir", strict(os.mkdir))
    monkeypatch.setattr(os, "open", strict(os.open))
    return refused


@pytest.mark.parametrize("at", [0, 3])
def test_a_disk_that_is_full_while_vectors_are_written(
    corpus: JsonlPassages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    retriever = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index", batch_size=20)
    write, calls = Path.write_text, 0

    def full(self: Path, *rest: Any, **named: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > at:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(IndexUnwritable, match=r"cannot be written \(No space left on device\): make room"):
            retriever.open()
    assert ids(retriever) == ids(Exact(corpus=corpus, embedder=Hashing()))


@pytest.fixture
def theirs(corpus: JsonlPassages, tmp_path: Path) -> Path:
    """Return the folder of a database that another program has made, with documents not yet in the graph."""
    encoder, passages = Hashing().open(), corpus.passages()
    with closing(local(tmp_path / "theirs")) as other:
        docs = other.create_collection("docs", embedding_function=None, metadata={"hnsw:space": "cosine"})
        docs.add(
            ids=[p.id for p in passages],
            embeddings=encoder.encode_passages([p.contents for p in passages]),
            documents=[p.contents for p in passages],
            metadatas=[{"title": p.title} for p in passages],
        )
        bare = other.create_collection("bare", embedding_function=None)
        bare.add(ids=[p.id for p in passages], embeddings=encoder.encode_passages([p.contents for p in passages]))
        other.create_collection("default")
        keyed = other.create_collection("keyed", embedding_function=None)
        keyed.add(ids=["a"], embeddings=np.ones((1, 512), np.float32), documents=["text"])
    return tmp_path / "theirs"


def test_an_existing_collection_is_used_as_it_is(corpus: JsonlPassages, theirs: Path) -> None:
    before = bytes_of(theirs)
    retriever = Chroma(existing=True, collection="docs", embedder=Hashing(), path=theirs)
    check_retriever(retriever.open(), corpus.passages())
    (hits,), (expected,) = (
        retriever.open().search([QUERY], 5),
        Exact(corpus=corpus, embedder=Hashing()).open().search([QUERY], 5),
    )
    assert [h.passage for h in hits] == [h.passage for h in expected]
    assert [h.score for h in hits] == pytest.approx([h.score for h in expected], abs=1e-5)
    assert retriever.inspect() == "the collection docs holds 200 documents"
    assert bytes_of(theirs) == before


def test_texts_of_a_collection_without_documents_come_from_the_corpus(corpus: JsonlPassages, theirs: Path) -> None:
    bare: dict[str, Any] = {"existing": True, "collection": "bare", "embedder": Hashing(), "path": theirs}
    searcher = Chroma(corpus=corpus, **bare).open()
    check_retriever(searcher, corpus.passages())
    assert searcher.search(["Place 7"], 1)[0][0].score < 0, "a squared distance with its sign turned"
    with pytest.raises(IndexMismatch, match="'bare' keeps no documents: name the `corpus`"):
        Chroma(**bare).open()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"collection": "nodocs"}, r"there is no collection 'nodocs', expected one of bare, default, docs, keyed$"),
        (
            {"collection": "docs", "embedder": None},
            r"'docs' needs an `embedder`: it does not say what made its vectors",
        ),
        ({"collection": "docs", "embedder": Hashing(dim=64)}, r"vectors of 512 numbers and the embedder makes 64"),
        ({"collection": "docs", "embedder": Hashing(ngram=5)}, r"made by another embedder: .* median cosine of 0\.\d"),
        ({"collection": "default"}, r"'default' is empty"),
        ({"path": Path("nowhere"), "collection": "docs"}, r"got .*nowhere, which holds no chroma\.sqlite3"),
    ],
)
def test_what_cannot_be_used_as_it_is(theirs: Path, settings: dict[str, Any], complaint: str) -> None:
    before = bytes_of(theirs)
    given = {"existing": True, "embedder": Hashing(), "path": theirs, **settings}
    with pytest.raises(IndexMismatch, match=complaint) as caught:
        Chroma(**given).open()
    assert "delete" not in str(caught.value)
    assert bytes_of(theirs) == before
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ({"name": "default", "config": {}}, {"type": "minilm"}),
        (
            {"name": "sentence_transformer", "config": {"model_name": "intfloat/e5-base-v2", "kwargs": {"x": 1}}},
            {"type": "sentence_transformers", "model": "intfloat/e5-base-v2", "query_prompt": "", "passage_prompt": ""},
        ),
        ({"name": "openai", "config": {"api_base": "https://else.example", "api_key_env_var": "OPENAI_API_KEY"}}, None),
    ],
)
def test_only_models_that_run_here_are_taken_at_the_collections_word(told: Any, meant: Any) -> None:
    collection: Any = types.SimpleNamespace(name="docs", configuration_json={"embedding_function": told})
    if meant:
        assert own_embedder(collection) == meant
    else:
        with pytest.raises(IndexMismatch, match="it was made by 'openai', which is not used unasked"):
            own_embedder(collection)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"existing": True, "path": "x"}, "expected its name and `path` or `host`"),
        ({"existing": True, "collection": "docs"}, "expected its name and `path` or `host`"),
        ({"embedder": "hashing"}, "`corpus` is missing"),
        ({"corpus": "atlas"}, "`embedder` is missing.*or `existing: true`"),
    ],
)
def test_what_a_spec_leaves_out(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Chroma(**settings)


def test_a_server_is_shared_and_its_outage_is_typed_and_bounded(
    corpus: JsonlPassages, port: int, server: subprocess.Popen[bytes], embedded: list[int]
) -> None:
    retriever = Chroma(corpus=corpus, embedder=Hashing(), host="127.0.0.1", port=port)
    searcher = retriever.open()
    check_retriever(searcher, corpus.passages())
    embedded.clear()
    assert ids(retriever) == [h.passage.id for h in searcher.search([QUERY], 5)[0]]
    assert embedded == [vectors.CHECKED]

    os.kill(server.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(RetrieverUnavailable, match=r"did not answer within 0\.5 s .*; gave up after 2 attempts"):
        Cached(searcher, patience=Patience(seconds=0.5, retries=1, pause=0)).search([QUERY], 5)
    assert time.monotonic() - begun < 20
    os.kill(server.pid, signal.SIGCONT)
    assert Cached(searcher).search([QUERY], 5) == [searcher.search([QUERY], 5)[0]]

    server.kill()
    server.wait()
    cached = Cached(searcher, patience=Patience(retries=2, pause=0.01))
    with pytest.raises(RetrieverUnavailable, match="Chroma could not search") as caught:
        cached.search([QUERY], 5)
    assert "127.0.0.1" not in str(caught.value) and str(port) not in str(caught.value)
    assert (cached.counters.retries, cached.counters.outages) == (2, 1)


@pytest.mark.parametrize("existing", [False, True])
def test_a_server_that_stops_answering_while_it_is_opened(
    corpus: JsonlPassages, port: int, server: subprocess.Popen[bytes], existing: bool
) -> None:
    kinds = {True: {"existing": True, "collection": "docs"}, False: {"corpus": corpus}}
    retriever = Chroma(embedder=Hashing(), host="127.0.0.1", port=port, **kinds[existing])  # type: ignore[arg-type]
    os.kill(server.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(RetrieverUnavailable, match=r"did not answer within 0\.5 s while it was opened"):
        opened(retriever, Patience(seconds=0.5))
    assert time.monotonic() - begun < 20
    os.kill(server.pid, signal.SIGCONT)


def test_a_server_that_stops_answering_while_its_index_is_filled(
    corpus: JsonlPassages, port: int, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    created = Chroma._created

    def stopping(self: Chroma, client: Any, name: str, facts: Any) -> Any:
        made = created(self, client, name, facts)
        os.kill(server.pid, signal.SIGSTOP)
        return made

    monkeypatch.setattr(Chroma, "_created", stopping)
    with pytest.raises(RetrieverUnavailable, match=r"did not answer within 3 s while it was opened"):
        opened(Chroma(corpus=corpus, embedder=Hashing(), host="127.0.0.1", port=port), Patience(seconds=3))
    os.kill(server.pid, signal.SIGCONT)


def test_an_existing_collection_of_a_server(corpus: JsonlPassages, port: int, server: subprocess.Popen[bytes]) -> None:
    other = chromadb.HttpClient("127.0.0.1", port, settings=Settings(anonymized_telemetry=False))
    docs = other.create_collection("docs", embedding_function=None, metadata={"hnsw:space": "cosine"})
    texts = [p.contents for p in corpus.passages()]
    rows = Hashing().open().encode_passages(texts)
    docs.add(ids=[p.id for p in corpus.passages()], embeddings=rows, documents=texts)
    searcher = Chroma(existing=True, collection="docs", embedder=Hashing(), host="127.0.0.1", port=port).open()
    assert [h.passage.id for h in searcher.search([QUERY], 5)[0]] == ids(Exact(corpus=corpus, embedder=Hashing()))
    assert [c.name for c in other.list_collections()] == ["docs"]


def test_a_server_that_is_not_there_is_told(corpus: JsonlPassages, port: int) -> None:
    with pytest.raises(RetrieverUnavailable, match=rf"reach the server 127.0.0.1:{port} .*: start it with `chroma run"):
        Chroma(corpus=corpus, embedder=Hashing(), host="127.0.0.1", port=port).open()


def test_reading_a_spec_imports_no_chroma() -> None:
    code = "import sys, sdsearch.envs.retrieval.chroma; assert not {'chromadb', 'torch', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

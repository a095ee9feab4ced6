import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.api import ClientAPI
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.chroma import Chroma
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.errors import IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval.cached import Cached, Patience
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


def client(index: Path) -> ClientAPI:
    return chromadb.PersistentClient(index, Settings(anonymized_telemetry=False))


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
    corpus: JsonlPassages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start(OPEN, corpus, tmp_path / "index")
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert "indexing passages: 200/200" in err
    monkeypatch.setattr("sdsearch.envs.embedding.hashing.HashingEncoder.encode_passages", None)
    assert str(ids(Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path / "index"))) == out.strip()


def test_finds_the_same_each_time_it_is_opened(corpus: JsonlPassages, tmp_path: Path) -> None:
    # So coarse that another graph finds other passages: a part that is placed anew at each opening would show.
    queries = [p.contents for p in corpus.passages()]
    coarse = Chroma(
        corpus=corpus,
        embedder=Hashing(),
        path=tmp_path,
        ef_construction=4,
        max_neighbors=2,
        ef_search=4,
        batch_size=130,
    )
    found = []
    for _ in range(4):
        found.append([[h.passage.id for h in hits] for hits in coarse.open().search(queries, 5)])
        SharedSystemClient.clear_system_cache()
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
    (left,) = client(index).list_collections()
    assert "-building-" in left.name and left.metadata["complete"] is False
    assert 0 < left.count() < 200
    expected = ids(Exact(corpus=corpus, embedder=Hashing()))
    assert ids(Chroma(corpus=corpus, embedder=Hashing(), path=index)) == expected
    (whole,) = client(index).list_collections()
    assert whole.count() == 200 and whole.metadata["complete"] is True


def test_a_pinned_collection_that_does_not_match_is_told(corpus: JsonlPassages, tmp_path: Path) -> None:
    index = tmp_path / "index"
    Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places").open()
    with pytest.raises(IndexMismatch, match=r"embedder is hashing-1-512-3, expected hashing-1-64-3\. Name another"):
        Chroma(corpus=corpus, embedder=Hashing(dim=64), path=index, collection="places").open()
    with pytest.raises(IndexMismatch, match=r"'places' .* ef_search is 800, expected 50"):
        Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places", ef_search=50).open()
    corpus.path.write_text(corpus.path.read_text().replace("Place 7 is a", "Place 7 was a"))
    with pytest.raises(IndexMismatch, match=r"corpus is [0-9a-f]{64}, expected [0-9a-f]{64}\."):
        Chroma(corpus=corpus, embedder=Hashing(), path=index, collection="places").open()


def test_without_a_pinned_name_several_indexes_live_side_by_side(corpus: JsonlPassages, tmp_path: Path) -> None:
    for dim in (64, 512, 64):
        Chroma(corpus=corpus, embedder=Hashing(dim=dim), path=tmp_path).open()
    assert len(client(tmp_path).list_collections()) == 2


def test_a_collection_of_someone_else_is_not_touched(corpus: JsonlPassages, tmp_path: Path) -> None:
    theirs = client(tmp_path).create_collection("theirs", embedding_function=None)
    theirs.add(ids=["x"], embeddings=np.ones((1, 4), np.float32))
    with pytest.raises(
        IndexMismatch, match=r"corpus is not stated.*passages is 1, expected 200.*complete is not stated"
    ):
        Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path, collection="theirs").open()
    assert theirs.count() == 1


def test_an_index_that_lost_passages_is_told(corpus: JsonlPassages, tmp_path: Path) -> None:
    retriever = Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path)
    retriever.open().collection.delete(ids=["p000"])
    with pytest.raises(IndexMismatch, match="passages is 199, expected 200"):
        retriever.open()


def test_a_collection_that_changes_behind_our_back_is_an_outage(corpus: JsonlPassages, tmp_path: Path) -> None:
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path).open()
    vector = Hashing().open().encode_passages([QUERY])
    searcher.collection.add(ids=["intruder"], embeddings=vector)
    with pytest.raises(RetrieverUnavailable, match="answered wrongly: with 'intruder', which is not in the corpus"):
        searcher.search([QUERY], 3)
    client(tmp_path).delete_collection(searcher.collection.name)
    with pytest.raises(RetrieverUnavailable, match=r"could not search \(NotFoundError\)$"):
        searcher.search([QUERY], 3)


def test_a_folder_that_is_no_index_is_told(corpus: JsonlPassages, tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").write_text("not a database, but long enough to be looked at " * 50)
    with pytest.raises(RetrieverUnavailable, match=r"Chroma could not open the folder .*: choose another `path`"):
        Chroma(corpus=corpus, embedder=Hashing(), path=tmp_path).open()


def test_a_folder_removed_or_overwritten_under_an_open_index(corpus: JsonlPassages, tmp_path: Path) -> None:
    """The open index answers rightly or not at all; in another process it is built again or its loss is told."""
    index = tmp_path / "index"
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=index).open()
    (expected,) = searcher.search([QUERY], 5)
    shutil.rmtree(index)
    assert searcher.search([QUERY], 5) == [expected]
    out, error = start(OPEN, corpus, index).communicate(timeout=60)
    assert out.strip() == str([h.passage.id for h in expected]), error

    other = tmp_path / "other"
    searcher = Chroma(corpus=corpus, embedder=Hashing(), path=other).open()
    for file in other.rglob("*"):
        if file.is_file():
            file.write_bytes(b"not an index " * 1000)
    with pytest.raises(RetrieverUnavailable, match=r"Chroma could not search \(InternalError\); gave up after 2"):
        Cached(searcher, patience=Patience(retries=1, pause=0)).search([QUERY], 5)
    process = start(OPEN, corpus, other)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Chroma could not open the folder" in error
    assert "choose another `path`, or delete this one" in error


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    chroma = str(Path(sys.executable).with_name("chroma"))
    command = [chroma, "run", "--path", str(tmp_path / "served"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_a_server_is_shared_and_its_outage_is_typed_and_bounded(
    corpus: JsonlPassages, port: int, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = Chroma(corpus=corpus, embedder=Hashing(), host="127.0.0.1", port=port)
    searcher = retriever.open()
    check_retriever(searcher, corpus.passages())
    monkeypatch.setattr("sdsearch.envs.embedding.hashing.HashingEncoder.encode_passages", None)
    assert ids(retriever) == [h.passage.id for h in searcher.search([QUERY], 5)[0]]

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


def test_a_server_that_is_not_there_is_told(corpus: JsonlPassages, port: int) -> None:
    with pytest.raises(RetrieverUnavailable, match=rf"reach the server 127.0.0.1:{port} .*: start it with `chroma run"):
        Chroma(corpus=corpus, embedder=Hashing(), host="127.0.0.1", port=port).open()


def test_reading_a_spec_imports_no_chroma() -> None:
    code = "import sys, sdsearch.envs.retrieval.chroma; assert not {'chromadb', 'torch', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

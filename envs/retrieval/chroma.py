"""Search a Chroma index: on disk, in memory, or on a Chroma server that several machines share.

The vectors always come from `embedder`; Chroma's own default, which downloads at run time, is never used. Telemetry is
off. HNSW is approximate, most so where many passages are worded alike. With the defaults and MiniLM it found the three
nearest passages of the atlas for each of 11,189 queries, in each of three builds; with half the candidates it missed
some for one query in two hundred. That matters beyond recall: Chroma places the passages of a batch in no fixed order,
so that two builds miss different ones, and what a search misses decides how an episode goes on. `type: exact` over the
same `path` misses none.

Chroma writes an index only after so many additions and places what came later anew, in another order, in each process
that opens it (chroma-core/chroma#2675): the same query then finds this today and that tomorrow. Ours is written once,
whole, with the last addition.

A folder has one writer: one process builds while others wait, and all may read afterwards. A process must not be forked
after `open()`, and another program that writes into the folder can make a client hang (chroma-core/chroma#7040). Where
that is likely, run `chroma run --path FOLDER` and set `host`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval import vectors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

Facts = dict[str, str | int | float | bool | None]

SPARE, CONNECT_SECONDS, LEAST_SYNC = 16, 10, 2
RETRY = "start again, the work done so far is kept"


@contextmanager
def outage(doing: str, remedy: str = "") -> Iterator[None]:
    """Turn what Chroma raises into `RetrieverUnavailable`; its text, which may hold addresses, goes with the remedy."""
    from chromadb.errors import ChromaError
    from httpx import HTTPError

    try:
        yield
    except (ChromaError, HTTPError, OSError, ValueError) as error:
        details = f"{type(error).__name__}: {error}): {remedy}" if remedy else f"{type(error).__name__})"
        raise RetrieverUnavailable(f"Chroma could not {doing} ({details}") from error


class Chroma(Retriever):
    """HNSW over cosine distance. An index says what it was built from, and a search never runs on another one's."""

    corpus: Corpus
    """What is searched."""
    embedder: Embedder
    """What turns passages and queries into vectors."""
    path: Path | None = None
    """The folder of the index and of its vectors; None keeps them in memory. With `host`, of the vectors only."""
    host: str | None = None
    """A Chroma server, in place of an index in this process."""
    port: int = Field(8000, ge=1, le=65535)
    """The server's port."""
    ssl: bool = False
    """Speak TLS with the server."""
    collection: str | None = Field(None, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,460}[a-zA-Z0-9]$")
    """Insist on this collection: one that was built from something else is an `IndexMismatch`. None derives the name
    from corpus, embedder and HNSW parameters, so that indexes built from different ones live side by side."""
    ef_construction: int = Field(1600, ge=1, le=100_000)
    """Candidates that HNSW weighs when it places a passage: more is slower to build and misses less."""
    max_neighbors: int = Field(64, ge=2, le=10_000)
    """Links that HNSW keeps for each passage (its M)."""
    ef_search: int = Field(800, ge=1, le=100_000)
    """Candidates that HNSW weighs in a search: more is slower and misses less."""
    batch_size: int = Field(512, ge=1, le=65536)
    """Passages embedded between two steps of the progress display; an interruption costs at most so many."""

    def inspect(self) -> str | None:
        folder = self.path.expanduser() if self.path else None
        if self.host:
            self._connect(folder).heartbeat()
            return f"the server {self.host}:{self.port} answers"
        if folder and folder.exists():
            return f"{folder} holds {len(self._connect(folder).list_collections())} indexes"
        return f"no index yet, it is built in {folder}" if folder else "an index in memory, built by each run"

    def open(self) -> ChromaSearcher:
        """Open the index, or build it first; an interrupted build goes on with the vectors that it has.

        Raises `IndexMismatch` for a collection that was built from something else, and `RetrieverUnavailable` when the
        server or the folder cannot be opened.
        """
        encoder = self.embedder.open()
        passages = vectors.ordered(self.corpus)
        folder = self.path.expanduser() if self.path else None
        facts: Facts = {
            "corpus": vectors.fingerprint(passages),
            "embedder": encoder.fingerprint,
            "passages": len(passages),
            **self._hnsw(len(passages)),
        }
        fingerprint = vectors.key(*map(str, facts.values()))
        name = self.collection or f"sdsearch-{fingerprint}"
        with vectors.building(folder):
            client = self._connect(folder)
            if (collection := get(client, name)) is None:
                rows = vectors.embed(passages, encoder, folder, self.batch_size)
                collection = self._make(client, name, facts, passages, rows)
        check(collection, facts)
        return ChromaSearcher(collection, encoder, passages, fingerprint)

    def _hnsw(self, passages: int) -> dict[str, str | int]:
        chosen = {n: getattr(self, n) for n in ("ef_construction", "max_neighbors", "ef_search")}
        return {"space": "cosine", **chosen, "sync_threshold": max(LEAST_SYNC, passages)}

    def _connect(self, folder: Path | None) -> ClientAPI:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        if self.host:
            remedy = f"start it with `chroma run --path FOLDER --host {self.host} --port {self.port}`"
            with outage(f"reach the server {self.host}:{self.port}", remedy):
                # Chroma's client has no time limit of its own.
                socket.create_connection((self.host, self.port), CONNECT_SECONDS).close()
                return chromadb.HttpClient(self.host, self.port, self.ssl, settings=settings)
        if folder:
            with outage(f"open the folder {folder}", "choose another `path`, or delete this one"):
                return chromadb.PersistentClient(folder, settings)
        return chromadb.EphemeralClient(settings)

    @outage("build its index", RETRY)
    def _make(
        self, client: ClientAPI, name: str, facts: Facts, passages: Sequence[Passage], rows: NDArray[np.float32]
    ) -> Collection:
        # Filled under a name of its own and renamed when complete: no reader can meet a half-built index.
        leftover = f"{name}-building-"
        if not self.host:  # on a server it may be the work of another machine
            for stale in [c.name for c in client.list_collections() if c.name.startswith(leftover)]:
                client.delete_collection(stale)
        collection = client.create_collection(
            leftover + uuid4().hex,
            metadata={**facts, "complete": False},
            configuration={"hnsw": self._hnsw(len(passages))},  # type: ignore[arg-type]
            embedding_function=None,
        )
        size = min(self.batch_size, client.get_max_batch_size())
        with vectors.bars() as display:
            task = display.task("indexing passages", len(passages))
            for i in range(0, len(passages), size):
                some = slice(i, i + size)
                collection.add(ids=[p.id for p in passages[some]], embeddings=np.array(rows[some]))
                task.advance(len(rows[some]))
        if (faster := get(client, name)) is not None:
            client.delete_collection(collection.name)
            return faster
        collection.modify(name=name, metadata={**facts, "complete": True})
        return collection


@outage("open its index", RETRY)
def get(client: ClientAPI, name: str) -> Collection | None:
    """Return the collection of that name, if any."""
    from chromadb.errors import NotFoundError

    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


@outage("open its index", RETRY)
def check(collection: Collection, facts: Facts) -> None:
    """Raise `IndexMismatch` unless the collection is complete and was built from what `facts` say."""
    got: Facts = {**dict(collection.metadata or {}), "passages": collection.count()}
    expected = {**facts, "complete": True}
    if wrong := [f"{n} is {got.get(n, 'not stated')}, expected {v}" for n, v in expected.items() if got.get(n) != v]:
        raise IndexMismatch(
            f"the Chroma collection {collection.name!r} was built from something else: {'; '.join(wrong)}. "
            "Name another `collection` (or none, to have the name derived), or delete this one to build it again"
        )


class ChromaSearcher:
    """An opened index; see `sdsearch.contracts.retrieval.Searcher`. Not fork-safe."""

    def __init__(self, collection: Collection, encoder: Encoder, passages: Sequence[Passage], fingerprint: str) -> None:
        """Take a complete collection, the passages whose ids it holds, and what names corpus, embedder and HNSW."""
        self.collection, self.encoder, self.fingerprint = collection, encoder, fingerprint
        self.passages = {p.id: p for p in passages}

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest passages of each query; scores are cosines. Raises `RetrieverUnavailable`."""
        if not queries or k < 1:
            return [[] for _ in queries]
        rows = self.encoder.encode_queries(queries)
        # Some to spare: equal passages at the end of the list are to be cut by id, not by chance.
        most = min(k + SPARE, len(self.passages))
        with outage("search"):
            response = self.collection.query(query_embeddings=rows, n_results=most, include=["distances"])
        return [self._hits(i, d, k) for i, d in zip(response["ids"], response["distances"] or [], strict=True)]

    def _hits(self, ids: Sequence[str], distances: Sequence[float], k: int) -> list[Hit]:
        if foreign := [i for i in ids if i not in self.passages]:
            raise RetrieverUnavailable(f"Chroma answered wrongly: with {foreign[0]!r}, which is not in the corpus")
        # Six decimals: rounding noise must not decide between equal passages.
        hits = [Hit(self.passages[i], round(1 - d, 6)) for i, d in zip(ids, distances, strict=True)]
        return sorted(hits, key=lambda h: (-h.score, h.passage.id))[:k]

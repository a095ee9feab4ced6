"""Search a Chroma index: on disk, in memory, or on a Chroma server that several machines share; or one made elsewhere.

The vectors always come from `embedder`; Chroma's own default, which downloads at run time, is never used. Telemetry is
off. HNSW is approximate, most so where many passages are worded alike. With the defaults and MiniLM it found the three
nearest passages of the atlas for each of 11,189 queries, in each of three builds; with half the candidates it missed
some for one query in two hundred. That matters beyond recall: Chroma places the passages of a batch in no fixed order,
so that two builds miss different ones, and what a search misses decides how an episode goes on. `type: exact` over the
same `path` misses none.

Chroma writes an index only after so many additions and places what came later anew, in another order, in each process
that opens it (chroma-core/chroma#2675): the same query then finds this today and that tomorrow. Ours is written once,
whole, with the last addition.

Chroma writes to its database whenever it opens one. Each index is therefore a folder of its own, which nothing changes
once it is complete: what is opened is a private copy of the database, beside links to the graph, in the temporary
folder. A disk that may only be read will do, other processes do not matter, and checksums hold. A process must not be
forked after `open()`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, model_validator

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval import corpora, vectors
from sdsearch.retrieval.chroma_database import (
    DATABASE,
    RETRY,
    answering,
    asked,
    compact,
    copied,
    get,
    local,
    named,
    outage,
    recorded,
    settings,
)
from sdsearch.retrieval.existing_collection import ExistingSearcher, absent, own_embedder
from sdsearch.retrieval.index import Facts, kept, unlike
from sdsearch.retrieval.opening import bounded
from sdsearch.retrieval.progress import progress

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

LEAST_SYNC = 2
NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,460}[a-zA-Z0-9]$"


class Chroma(Retriever):
    """HNSW over cosine distance. An index says what it was built from, and a search never runs on another one's."""

    corpus: Corpus | None = None
    """What is searched. With `existing` only where the collection keeps no documents: it then gives them by their
    ids."""
    embedder: Embedder | None = None
    """What turns passages and queries into vectors. With `existing` it may be left out where the collection says that
    it was made by all-MiniLM-L6-v2 (Chroma's default) or by a sentence-transformers model."""
    existing: bool = False
    """Use the collection named `collection`, made elsewhere, as it is: its documents are the passages. It is never
    written to; one in a folder is opened as a copy."""
    path: Path | None = None
    """The folder in which the index and its vectors are folders; None keeps them in memory. With `host`, of the vectors
    only. With `existing`, the folder that `chromadb.PersistentClient` was given."""
    host: str | None = None
    """A Chroma server, in place of an index in this process."""
    port: int = Field(8000, ge=1, le=65535)
    """The server's port."""
    ssl: bool = False
    """Speak TLS with the server."""
    collection: str | None = Field(None, pattern=NAME)
    """Insist on this collection: one that was built from something else is an `IndexMismatch`. None derives the name
    from corpus, embedder and HNSW parameters, so that indexes built from different ones live side by side."""
    title_key: str = "title"
    """The metadata field that holds a document's title, with `existing`."""
    ef_construction: int = Field(1600, ge=1, le=100_000)
    """Candidates that HNSW weighs when it places a passage: more is slower to build and misses less."""
    max_neighbors: int = Field(64, ge=2, le=10_000)
    """Links that HNSW keeps for each passage (its M)."""
    ef_search: int = Field(800, ge=1, le=100_000)
    """Candidates that HNSW weighs in a search: more is slower and misses less."""
    batch_size: int = Field(512, ge=1, le=65536)
    """Passages embedded between two steps of the progress display; an interruption costs at most so many."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.existing and not (self.collection and (self.path or self.host)):
            raise ValueError("`existing` means a collection made elsewhere: expected its name and `path` or `host`")
        if not self.existing and (missing := [n for n in ("corpus", "embedder") if getattr(self, n) is None]):
            raise ValueError(
                f"`{missing[0]}` is missing: expected what is to be searched and what embeds it, or `existing: true` "
                "for a collection made elsewhere"
            )
        return self

    def inspect(self) -> str | None:
        folder = self.path.expanduser() if self.path else None
        if self.existing:
            collection, _ = self._found()
            with outage("look into the collection"):
                return f"the collection {self.collection} holds {bounded(collection.count):,} documents"
        if self.host:
            self._connect()
            return f"the server {self.host}:{self.port} answers"
        if folder and folder.exists():
            return f"{folder} holds {len(list(folder.glob(f'*/{DATABASE}')))} indexes"
        return f"no index yet, it is built in {folder}" if folder else "an index in memory, built by each run"

    def open(self) -> ChromaSearcher | ExistingSearcher:
        """Open the index, or build it first; an interrupted build goes on with the vectors that it has.

        Raises `IndexMismatch` for a collection that was built from something else, `IndexUnwritable` where the disk
        does not take it, and `RetrieverUnavailable` when the server or the folder cannot be opened.
        """
        if self.existing:
            return self._existing()
        assert self.corpus is not None and self.embedder is not None
        encoder = self.embedder.open()
        passages = corpora.ordered(self.corpus)
        folder = self.path.expanduser() if self.path else None
        facts: Facts = {
            "corpus": corpora.fingerprint(passages),
            "embedder": encoder.fingerprint,
            "passages": len(passages),
            **self._hnsw(len(passages)),
        }
        fingerprint = corpora.key(*map(str, facts.values()))
        name = self.collection or f"sdsearch-{fingerprint}"
        embed = partial(vectors.embed, passages, encoder, folder, self.batch_size)
        if folder and not self.host:

            def build(into: Path) -> None:
                for left in into.iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                rows = embed()
                with outage("build its index", RETRY), closing(local(into)) as client:
                    self._fill(client, self._created(client, name, facts), rows)
                compact(into / DATABASE)

            place = kept(folder / name, facts, build)
            with outage("open its index"):
                found = copied(place, name)
            if found is None:
                raise IndexMismatch(
                    f"the index {place} holds no collection {name!r}: expected the one it was built for"
                )
            collection = found
        else:
            client = self._connect()
            if (found := get(client, name)) is None:
                found = self._make(client, name, facts, embed())
            collection = found
            check(collection, facts)
        searcher = ChromaSearcher(collection, encoder, passages, fingerprint)
        searcher.test()
        return searcher

    def _existing(self) -> ExistingSearcher:
        collection, own = self._found()
        embedder = self.embedder or TypeAdapter(Embedder).validate_python(own)
        passages = {p.id: p for p in self.corpus.passages()} if self.corpus else None
        searcher = ExistingSearcher(collection, embedder.open(), self.title_key, passages)
        searcher.test()
        return searcher

    def _found(self) -> tuple[Collection, dict[str, Any]]:
        """Return the collection that exists, and the settings of the embedder that it says it was made by."""
        assert self.collection is not None
        if self.host:
            client = self._connect()
            if (collection := get(client, self.collection)) is None:
                raise IndexMismatch(absent(self.collection, named(client)))
            return collection, {} if self.embedder else own_embedder(collection)
        folder = Path(str(self.path)).expanduser()
        if not (folder / DATABASE).is_file():
            raise IndexMismatch(f"got {folder}, which holds no {DATABASE}: expected the folder of a database")
        with outage(f"open the folder {folder}", "expected one that Chroma has written"):
            collection = copied(folder, self.collection, everything=True)
        if collection is None:
            raise IndexMismatch(absent(self.collection, recorded(folder)))
        return collection, {} if self.embedder else own_embedder(collection)

    def _hnsw(self, passages: int) -> dict[str, str | int]:
        chosen = {n: getattr(self, n) for n in ("ef_construction", "max_neighbors", "ef_search")}
        return {"space": "cosine", **chosen, "sync_threshold": max(LEAST_SYNC, passages)}

    def _connect(self) -> ClientAPI:
        import chromadb

        if not self.host:
            return chromadb.EphemeralClient(settings())
        remedy = f"start it with `chroma run --path FOLDER --host {self.host} --port {self.port}`"
        with outage(f"reach the server {self.host}:{self.port}", remedy):
            answering(f"http{'s' if self.ssl else ''}://{self.host}:{self.port}")
            return bounded(partial(chromadb.HttpClient, self.host, self.port, self.ssl, settings=settings()))

    def _created(self, client: ClientAPI, name: str, facts: Facts) -> Collection:
        return bounded(
            lambda: client.create_collection(
                name,
                metadata={**facts, "complete": False},
                configuration={"hnsw": self._hnsw(int(str(facts["passages"])))},  # type: ignore[arg-type]
                embedding_function=None,
            )
        )

    def _fill(self, client: ClientAPI, collection: Collection, rows: NDArray[np.float32]) -> None:
        size = min(self.batch_size, bounded(client.get_max_batch_size))
        with progress("indexing passages", len(rows)) as advance:
            for i in range(0, len(rows), size):
                some = np.array(rows[i : i + size])
                ids = [str(row) for row in range(i, i + len(some))]
                add = partial(collection.add, ids=ids, embeddings=some)
                bounded(add) if self.host else add()
                advance(len(some))

    @outage("build its index", RETRY)
    def _make(self, client: ClientAPI, name: str, facts: Facts, rows: NDArray[np.float32]) -> Collection:
        # Filled under a name of its own and renamed when complete: no reader can meet a half-built index.
        collection = self._created(client, f"{name}-building-{uuid4().hex}", facts)
        self._fill(client, collection, rows)
        if (faster := get(client, name)) is not None:
            bounded(lambda: client.delete_collection(collection.name))
            return faster
        bounded(lambda: collection.modify(name=name, metadata={**facts, "complete": True}))
        return collection


@outage("open its index", RETRY)
def check(collection: Collection, facts: Facts) -> None:
    """Raise `IndexMismatch` unless the collection is complete and was built from what `facts` say."""
    got: Facts = {**dict(collection.metadata or {}), "passages": bounded(collection.count)}
    if wrong := unlike(got, {**facts, "complete": True}):
        raise IndexMismatch(
            f"the Chroma collection {collection.name!r} was built from something else: {wrong}. Name another "
            "`collection` (or none, to have the name derived); one made elsewhere is used as it is by `existing: true`"
        )


class ChromaSearcher:
    """An opened index; see `sdsearch.contracts.retrieval.Searcher`. Not fork-safe."""

    def __init__(self, collection: Collection, encoder: Encoder, passages: Sequence[Passage], fingerprint: str) -> None:
        """Take a complete collection, whose ids are rows of `passages`, and what names corpus, embedder and HNSW."""
        self.collection, self.encoder, self.passages, self.fingerprint = collection, encoder, passages, fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest passages of each query; scores are cosines. Raises `RetrieverUnavailable`."""
        if not queries or k < 1:
            return [[] for _ in queries]
        # Some to spare: equal passages at the end of the list are to be cut by id, not by chance.
        most = min(k + corpora.SPARE, len(self.passages))
        answers = asked(self.collection, self.encoder.encode_queries(queries), most, ["distances"])
        return [self._hits(i, d, k) for i, d in zip(answers["ids"], answers["distances"], strict=True)]

    def _hits(self, ids: Sequence[str], distances: Sequence[float], k: int) -> list[Hit]:
        if foreign := [i for i in ids if not (i.isdecimal() and int(i) < len(self.passages))]:
            raise RetrieverUnavailable(f"Chroma answered wrongly: with {foreign[0]!r}, which is not in the corpus")
        # Six decimals: rounding noise must not decide between equal passages.
        hits = [Hit(self.passages[int(i)], round(1 - d, 6)) for i, d in zip(ids, distances, strict=True)]
        return sorted(hits, key=lambda h: (-h.score, h.passage.id))[:k]

    def test(self) -> None:
        """Raise `IndexMismatch` unless most of a few passages are found by what the embedder makes of them."""
        rows = vectors.sample(len(self.passages))
        texts = [self.passages[row].contents for row in rows]
        call = partial(asked, self.collection, self.encoder.encode_passages(texts), 1, ["distances"])
        nearest = bounded(call)["distances"]
        vectors.trusted([1 - d[0] if d else 0.0 for d in nearest], f"the Chroma collection {self.collection.name!r}")

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
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, model_validator

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval import corpora, vectors
from sdsearch.retrieval.index import Facts, kept, unlike
from sdsearch.retrieval.opening import bounded, now
from sdsearch.retrieval.progress import progress

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

LEAST_SYNC = 2
RETRY = "start again, the work done so far is kept"
DATABASE = "chroma.sqlite3"
NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,460}[a-zA-Z0-9]$"
NEAR = 0.5
"""The least median cosine between the stored vectors of an existing collection and what the embedder makes of their
documents: another model is near 0, the right one with a title or a prefix more or less is above 0.7."""


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


def answering(address: str) -> None:
    """Ask a server for a sign of life, as Chroma's client has no time limit of its own.

    Raises `RetrieverUnavailable` when none comes in time, and what httpx raises for any other trouble.
    """
    import httpx

    seconds = now().patience.seconds
    try:
        httpx.get(f"{address}/api/v2/heartbeat", timeout=seconds).raise_for_status()
    except httpx.TimeoutException as error:
        raise RetrieverUnavailable(
            f"the Chroma server {address} did not answer within {seconds:g} s while it was opened "
            "(environment.patience.seconds)"
        ) from error


def settings() -> Any:
    """Return settings of Chroma without telemetry."""
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def local(folder: Path) -> Client:
    """Return a client of a folder, which it may write to."""
    import chromadb

    return cast("Client", chromadb.PersistentClient(folder, settings()))


def compact(database: Path) -> None:
    """Give back the pages of a database that are empty: what passed through its queue, most of it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")


def copied(folder: Path, name: str, everything: bool = False) -> Collection | None:
    """Return a collection of a copy of the database beside links to all else, or of a copy of `everything`.

    The copy goes with the collection. None: there is none of that name. Raises `OSError` when there is no room for it.
    """
    place = Path(tempfile.mkdtemp(prefix="sdsearch-chroma-"))
    try:
        for source in folder.iterdir():
            if source.name == DATABASE:
                consistent(source, place / DATABASE)
            elif source.name.startswith(DATABASE):
                continue  # what a transaction of somebody else has left beside it
            elif not everything:
                (place / source.name).symlink_to(source.resolve(), target_is_directory=source.is_dir())
            elif source.is_dir():
                shutil.copytree(source, place / source.name)
        client = local(place)
        collection = get(client, name)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    if collection is None:
        client.close()
        shutil.rmtree(place, ignore_errors=True)
    else:
        weakref.finalize(collection, gone, client, place)
    return collection


def gone(client: Client, place: Path) -> None:
    """Close a client and remove the copy that it was of."""
    client.close()
    shutil.rmtree(place, ignore_errors=True)


def consistent(source: Path, target: Path) -> None:
    """Copy a database as it is between two transactions of whoever writes to it."""
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as one,
            closing(sqlite3.connect(target)) as two,
        ):
            one.backup(two)
    except sqlite3.Error as error:
        raise OSError(f"{source.name}: {error}") from error


def absent(name: str, names: Sequence[str]) -> str:
    """Say that there is no such collection."""
    listed = f"expected one of {', '.join(names)}" if names else "nor is there any other"
    return f"there is no collection {name!r}, {listed}"


@outage("list its collections")
def named(client: ClientAPI) -> list[str]:
    """Return the names of a server's collections."""
    return sorted(collection.name for collection in bounded(client.list_collections))


def recorded(folder: Path) -> list[str]:
    """Return the names of a folder's collections."""
    uri = f"{(folder / DATABASE).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        return sorted(name for (name,) in database.execute("SELECT name FROM collections"))


@outage("open its index", RETRY)
def get(client: ClientAPI, name: str) -> Collection | None:
    """Return the collection of that name, if any."""
    from chromadb.errors import NotFoundError

    try:
        return bounded(lambda: client.get_collection(name, embedding_function=None))
    except NotFoundError:
        return None


@outage("open its index", RETRY)
def check(collection: Collection, facts: Facts) -> None:
    """Raise `IndexMismatch` unless the collection is complete and was built from what `facts` say."""
    got: Facts = {**dict(collection.metadata or {}), "passages": bounded(collection.count)}
    if wrong := unlike(got, {**facts, "complete": True}):
        raise IndexMismatch(
            f"the Chroma collection {collection.name!r} was built from something else: {wrong}. Name another "
            "`collection` (or none, to have the name derived); one made elsewhere is used as it is by `existing: true`"
        )


def own_embedder(collection: Collection) -> dict[str, Any]:
    """Return the settings of the embedder that a collection says it was made by.

    Only models that run here are taken at its word: the others are asked over the network with a key, and where a
    collection sends a key is not for the collection to say. Raises `IndexMismatch` for them, and when it says nothing.
    """
    told: Mapping[str, Any] = collection.configuration_json.get("embedding_function") or {}
    name, config = told.get("name"), told.get("config") or {}
    if name in ("default", "onnx_mini_lm_l6_v2"):
        return {"type": "minilm"}
    if name == "sentence_transformer" and isinstance(config.get("model_name"), str):
        return {
            "type": "sentence_transformers",
            "model": config["model_name"],
            "query_prompt": "",
            "passage_prompt": "",
        }
    said = f"it was made by {name!r}, which is not used unasked" if name else "it does not say what made its vectors"
    raise IndexMismatch(
        f"the Chroma collection {collection.name!r} needs an `embedder`: {said}. Name the one that it was made with, "
        "such as `embedder: {type: sentence_transformers, model: ...}`"
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


def asked(collection: Collection, rows: NDArray[np.float32], count: int, include: Sequence[str]) -> Any:
    """Return what Chroma answers. Raises `RetrieverUnavailable`."""
    with outage("search"):
        return collection.query(query_embeddings=rows, n_results=count, include=list(include))  # type: ignore[arg-type]


class ExistingSearcher:
    """A collection made elsewhere, used as it is; see `sdsearch.contracts.retrieval.Searcher`. Not fork-safe."""

    def __init__(
        self, collection: Collection, encoder: Encoder, title_key: str, passages: Mapping[str, Passage] | None
    ) -> None:
        """Take the collection, what embeds queries, and the passages by id, where it keeps no documents."""
        self.collection, self.encoder, self.title_key, self.passages = collection, encoder, title_key, passages
        hnsw = collection.configuration_json.get("hnsw") or collection.configuration_json.get("spann") or {}
        self.space = str(hnsw.get("space") or "l2")
        self.count = bounded(collection.count)
        self.fingerprint = corpora.key(collection.name, str(collection.id), str(self.count), encoder.fingerprint)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest documents of each query. Raises `RetrieverUnavailable`.

        Scores are cosines where the collection's space is `cosine`, else the distance with its sign turned.
        """
        if not queries or k < 1:
            return [[] for _ in queries]
        include = ["distances", "documents", "metadatas"] if self.passages is None else ["distances"]
        answers = asked(
            self.collection, self.encoder.encode_queries(queries), min(k + corpora.SPARE, self.count), include
        )
        hits = []
        for i, ids in enumerate(answers["ids"]):
            texts, about = ((answers.get(n) or [[]] * len(queries))[i] for n in ("documents", "metadatas"))
            found = [self._passage(id_, at, texts, about) for at, id_ in enumerate(ids)]
            scores = [round(float(self.space == "cosine") - d, 6) for d in answers["distances"][i]]
            ranked = sorted(map(Hit, found, scores), key=lambda h: (-h.score, h.passage.id))
            hits.append(ranked[:k])
        return hits

    def _passage(self, id_: str, at: int, texts: Sequence[str], about: Sequence[Mapping[str, Any] | None]) -> Passage:
        if self.passages is not None:
            if id_ not in self.passages:
                raise RetrieverUnavailable(f"Chroma answered wrongly: with {id_!r}, which is not in the corpus")
            return self.passages[id_]
        title = str((about[at] or {}).get(self.title_key) or "")
        return Passage(id_, title, (texts[at] or "").removeprefix(f"{title}\n") if title else texts[at] or "")

    def test(self) -> None:
        """Raise `IndexMismatch` unless a few documents have texts, and vectors that the embedder makes of them."""
        name = f"the Chroma collection {self.collection.name!r}"
        if not self.count:
            raise IndexMismatch(f"{name} is empty: expected documents")
        with outage("look into the collection"):
            look = partial(self.collection.get, limit=8, include=["documents", "embeddings"])
            some: Any = bounded(look)
        texts = some["documents"] or []
        if self.passages is not None:
            if missing := [i for i in some["ids"] if i not in self.passages]:
                raise IndexMismatch(f"{name} has the id {missing[0]!r}, which is not in the corpus: expected ids of it")
            texts = [self.passages[i].contents for i in some["ids"]]
        if not all(isinstance(text, str) and text.strip() for text in texts) or not texts:
            raise IndexMismatch(f"{name} keeps no documents: name the `corpus` that has their texts under the same ids")
        stored, again = np.asarray(some["embeddings"], np.float32), self.encoder.encode_passages(texts)
        if stored.shape[1] != again.shape[1]:
            raise IndexMismatch(
                f"{name} holds vectors of {stored.shape[1]} numbers and the embedder makes {again.shape[1]}: expected "
                "the embedder that it was made with"
            )
        cosines = np.sum(stored * again, axis=1) / np.maximum(1e-9, np.linalg.norm(stored, axis=1))
        if (median := float(np.median(cosines))) < NEAR:
            raise IndexMismatch(
                f"{name} was made by another embedder: its vectors and those made now have a median cosine of "
                f"{median:.2f}, expected more than {NEAR}"
            )

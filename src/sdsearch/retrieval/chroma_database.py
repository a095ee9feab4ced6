"""A Chroma database, in a folder or behind a server: how it is opened, and what it says of its collections.

Chroma writes to a database whenever it opens one, so that what is only read is opened as a private copy. What it raises
becomes `RetrieverUnavailable`, and every call over the network has a time limit. Telemetry is off.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval.opening import bounded, now

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

RETRY = "start again, the work done so far is kept"
DATABASE = "chroma.sqlite3"


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


def asked(collection: Collection, rows: NDArray[np.float32], count: int, include: Sequence[str]) -> Any:
    """Return what Chroma answers. Raises `RetrieverUnavailable`."""
    with outage("search"):
        return collection.query(query_embeddings=rows, n_results=count, include=list(include))  # type: ignore[arg-type]

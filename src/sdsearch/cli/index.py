"""`sdsearch index`."""

from __future__ import annotations

import time

import typer

from sdsearch.cli.options import Set, Spec
from sdsearch.cli.spec import experiment_of
from sdsearch.errors import SpecError


def index(spec: Spec, set: Set = None) -> None:
    """Build the index of the spec's retriever, or make sure that all of it is there and as it was written.

    A retriever that asks a server has none: the server is asked one query.
    """
    from sdsearch.retrieval.opening import opened
    from sdsearch.retrieval.patience import Patience

    environment = experiment_of(spec, set).environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is no index to build")
    since = time.perf_counter()
    patience: Patience = getattr(environment, "patience", Patience())
    searcher, what = opened(retriever, patience, whole=True), "ready"
    if connect := getattr(searcher, "connect", None):
        connect(patience.seconds)
        what = "there is no index to build, and the server answers,"
    typer.echo(f"{retriever.type}: {what} after {time.perf_counter() - since:.1f} s")

"""`sdsearch index`."""

from __future__ import annotations

import time

import typer

from sdsearch.cli.options import Set, Spec
from sdsearch.cli.spec import experiment_of
from sdsearch.errors import SpecError


def index(spec: Spec, set: Set = None) -> None:
    """Build the index of the spec's retriever, or make sure that all of it is there and as it was written."""
    from sdsearch.retrieval.opening import opened

    environment = experiment_of(spec, set).environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is no index to build")
    since = time.perf_counter()
    opened(retriever, getattr(environment, "patience", None), whole=True)
    typer.echo(f"{retriever.type}: ready after {time.perf_counter() - since:.1f} s")

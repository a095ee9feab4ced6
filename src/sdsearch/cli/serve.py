"""`sdsearch serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from sdsearch.cli.options import Set, Spec
from sdsearch.cli.spec import experiment_of
from sdsearch.errors import SpecError


def serve(
    spec: Spec,
    set: Set = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at. With another than the default, others can search too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Answer searches of other programs by the spec's retriever: Search-R1's `POST /retrieve`. Ctrl-C ends it.

    `type: http` in another spec asks it, and so do Search-R1, verl, SkyRL and slime.
    """
    environment = experiment_of(spec, set).environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is nothing to serve")
    from sdsearch.serving.command import serve as run

    patience = getattr(environment, "patience", None)
    run(retriever, getattr(environment, "top_k", 3), host, port, typer.echo, patience)

"""`sdsearch schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    kind: Annotated[str, typer.Argument(help="What the spec is about, such as `warmstart`.")] = "experiment",
) -> None:
    """Print the JSON schema of a kind of spec, with which an editor completes and checks YAML."""
    from sdsearch.config.schema import compose

    typer.echo(json.dumps(compose(kind), indent=2, ensure_ascii=False))

"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A YAML file, or the name of one that comes with sdsearch.")]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one value: train.steps=3, objective.terms.1.weight=0.5. Repeatable."
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where runs are kept, instead of the spec's `out`.")
]

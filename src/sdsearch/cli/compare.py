"""`sdsearch compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdsearch.cli.options import Json
from sdsearch.cli.printing import print_json


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an evaluation or of a run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one, on the same questions.")],
    as_json: Json = False,
) -> None:
    """Compare two evaluations question by question: the second minus the first, wins, losses and ties."""
    from sdsearch.evaluation.compare import compare as pair

    done = pair(first, second)
    if as_json:
        print_json(done.record())
        return
    done.show(Console())

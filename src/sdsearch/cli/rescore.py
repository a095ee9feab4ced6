"""`sdsearch rescore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdsearch.cli.options import Json
from sdsearch.cli.printing import print_json


def rescore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an evaluation or of a run.")],
    reward: Annotated[str, typer.Option(metavar="NAME|YAML", help="Such as f1, or '{type: \"mine:Strict\", by: 3}'.")],
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as evaluate_20; by default the newest evaluation.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the kept episodes with another reward. It is written beside them, and nothing is overwritten."""
    from sdsearch.evaluation.rescore import rescore as score

    done = score(run, reward, trajectories)
    if as_json:
        print_json(done.record())
        return
    done.show(Console())

"""`sdsearch episode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def episode(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/sd_search/0.")],
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as step_1 or evaluate_20; by default the newest.")
    ] = None,
    number: Annotated[int, typer.Option(min=0, help="Which of them, counted from 0.")] = 0,
) -> None:
    """Print one episode that a run has kept: what the model was shown, what it wrote, and how that was read."""
    from sdsearch.report.episode import pick, told

    for line in told(pick(run, trajectories, number)):
        typer.echo(line)

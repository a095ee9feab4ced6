"""`sdsearch report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/sd_search/0.")],
) -> None:
    """Write `report.html` into the folder of a run: figures, warnings and episodes on one page."""
    from sdsearch.report.page import page

    typer.echo(page(run))

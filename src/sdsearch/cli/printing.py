"""What a command prints, for a person or for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """Print JSON that every program can read: what is no number is null."""
    typer.echo(to_json(value, inf_nan_mode="null").decode())


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]], as_json: bool) -> None:
    """Print rows: as a table that fits the terminal, as JSON, or, for another program, a line each."""
    console = Console(highlight=False)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif console.is_terminal:
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns) - 1)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            typer.echo("  ".join([*cells, " ".join(row[-1].split())]))


def complain(message: str) -> None:
    """Print to standard error, as it is."""
    typer.echo(message, err=True)

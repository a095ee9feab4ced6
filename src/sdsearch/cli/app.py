"""The command `sdsearch`: its commands, and what is said of errors."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import sdsearch
from sdsearch.cli.check import check
from sdsearch.cli.compare import compare
from sdsearch.cli.episode import episode
from sdsearch.cli.eval import evaluate
from sdsearch.cli.fidelity import fidelity
from sdsearch.cli.index import index
from sdsearch.cli.list import catalogue
from sdsearch.cli.play import play
from sdsearch.cli.printing import complain
from sdsearch.cli.report import report
from sdsearch.cli.rescore import rescore
from sdsearch.cli.schema import schema
from sdsearch.cli.serve import serve
from sdsearch.cli.study import study
from sdsearch.cli.teacher import teacher
from sdsearch.cli.train import train
from sdsearch.cli.warmstart import warmstart
from sdsearch.errors import SdsearchError

GO_ON = {"train": "; --resume goes on from the last checkpoint", "eval": "; the same command goes on from there"}
"""What is said to who interrupts a command."""


class Commands(TyperGroup):
    """Says what went wrong in a line instead of a traceback, where the library raised it on purpose."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Exit codes: 1 an error of ours, 2 a wrong command line, 130 Ctrl-C."""
        try:
            return super().invoke(ctx)
        except SdsearchError as error:
            complain(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            complain(str(error) or "interrupted" + GO_ON.get(str(ctx.invoked_subcommand), ""))
            raise typer.Exit(130) from error


app = typer.Typer(
    name="sdsearch",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train search agents and compare ways to assign credit. One YAML file, the *spec*, says all about a run.",
    epilog="Start with `sdsearch train specs/sd_search.yaml`; `sdsearch list` shows what a spec can name.",
)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Options that need no command."""
    if version:
        typer.echo(sdsearch.__version__)
        raise typer.Exit()


app.command()(train)
app.command()(report)
app.command()(episode)
app.command("eval")(evaluate)
app.command()(rescore)
app.command()(compare)
app.command()(play)
app.command()(check)
app.command("list")(catalogue)
app.command()(schema)
app.command()(study)
app.command()(fidelity)
app.command()(teacher)
app.command()(serve)
app.command()(index)
app.command()(warmstart)


def main() -> None:
    """Run the command line."""
    app()

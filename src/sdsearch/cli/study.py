"""`sdsearch study`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from sdsearch.cli.options import Json, Out, Set, Spec
from sdsearch.cli.printing import print_json
from sdsearch.cli.spec import changes, located


def study(
    spec: Spec,
    set: Set = None,
    out: Out = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Run on a Ray cluster: host:port, `auto`, or `local`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run every arm of a study with every seed, and compare them: `runs/<name>/table.md`. Goes on where it stopped."""
    from sdsearch.study.command import study as run

    found = run(located(spec), changes(set, out), ray, Console(stderr=as_json))
    if as_json:
        from sdsearch.study.table import differences, runs

        print_json({"runs": runs(found), "pairs": differences(found)})

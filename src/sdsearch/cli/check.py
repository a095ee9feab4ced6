"""`sdsearch check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdsearch.cli.options import Set
from sdsearch.cli.spec import located
from sdsearch.errors import SpecError

if TYPE_CHECKING:
    from pydantic import BaseModel


def check(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="The YAML files.")],
    set: Set = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is wrong.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print where each value was written, line by line.")
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Open the files, the tokeniser and the servers that it names, too.")
    ] = False,
) -> None:
    """Print each spec with everything it leaves out filled in, or all that is wrong with it (exit code 1).

    Code from elsewhere that it names comes first, a line each: whoever uses the spec runs it; then the keys that it
    sends, and where to; with --data, what its files and servers hold. A spec that is no experiment says with `kind`
    what it is.
    """
    from sdsearch.config.called import called, sent
    from sdsearch.config.explain import listing, origins
    from sdsearch.config.load import load_any
    from sdsearch.config.yaml import write

    resolved, wrong, folders = [], [], dict[Path, Path]()
    for path in specs:
        try:
            spec = load_any(located(path), set or ())
            whole: list[BaseModel] = [spec.spec]
            if spec.kind == "study":
                from sdsearch.study.spec import jobs

                whole = list({job.arm: job.experiment for job in jobs(spec)}.values())
            shown = listing(origins(spec.plain(), spec.root)) if explain else write(spec.plain())
            notes = [f"runs {name}" for name in called(spec.spec)]
            folder = getattr(spec.spec, "folder", path)
            if folder in folders:
                notes.append(f"warning: its folder is {folder}, that of {folders[folder]} too: rename one of them")
            folders.setdefault(folder, path)
            notes += [f"sends {key}" for key in sent(spec.spec)]
            if note := getattr(spec.spec, "tokenless", None):
                notes.append(note)
            if data:
                from sdsearch.inputs import inputs

                for where, found, fault in inputs(*whole):
                    if fault:
                        wrong.append(f"{path}: {where}: {fault}")
                    else:
                        notes.append(f"{where}: {found}")
            resolved.append("\n".join(f"# {line}" for line in (path, *notes)) + f"\n{shown}")
        except SpecError as error:
            wrong.append(str(error))
    if not quiet:
        typer.echo("---\n".join(resolved), nl=False)
    if wrong:
        raise SpecError("\n".join(wrong))

"""`sdsearch warmstart`."""

from __future__ import annotations

import typer

from sdsearch.cli.options import Out, Set, Spec
from sdsearch.cli.spec import loaded


def warmstart(spec: Spec, set: Set = None, out: Out = None) -> None:
    """Make the small model that the embedded experiments start from: clone it on scripted episodes."""
    from sdsearch.warmstart.command import warmstart as make
    from sdsearch.warmstart.spec import WarmStart

    for name, value in make(loaded(spec, set, out, WarmStart)).items():
        typer.echo(f"{name}: {value:.4g}")

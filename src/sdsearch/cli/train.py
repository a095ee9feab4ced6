"""`sdsearch train`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from sdsearch.cli.options import Out, Set, Spec
from sdsearch.cli.spec import experiment_of


def train(
    spec: Spec,
    set: Set = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew; a run that is there is moved aside.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="With --resume: go on although the data, the corpus or the index are others now."
        ),
    ] = False,
) -> None:
    """Train the spec's agent, evaluate it, and leave everything in `runs/<name>/<seed>/`.

    SPEC may be the folder of a run, or the spec.yaml in it: that folder is used then, wherever the run began.
    """
    spec = spec / "spec.yaml" if spec.is_dir() else spec
    experiment = experiment_of(spec, set, out)
    from sdsearch.learning.train import train as run
    from sdsearch.report.table import show
    from sdsearch.runs.folder import Run

    if out is None and not any(each.startswith("out=") for each in set or ()):
        experiment = Run.at_home(spec, experiment)
    done = run(experiment, resume=resume, fresh=fresh, accept_changes=accept_changes)
    show(done.metrics(), Console())
    typer.echo(f"everything is in {done.folder}")

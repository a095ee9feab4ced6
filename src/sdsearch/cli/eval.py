"""`sdsearch eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdsearch.cli.options import Json, Set
from sdsearch.cli.printing import print_json
from sdsearch.cli.spec import located


def evaluate(
    place: Annotated[Path, typer.Argument(metavar="SPEC|RUN", help="A spec, the folder of a run, or a checkpoint.")],
    set: Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where its episodes are kept, instead of runs/<name>/eval/<seed>."
        ),
    ] = None,
    checkpoint: Annotated[int | None, typer.Option(metavar="STEP", help="Of a run; by default the newest one.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Play all anew; what is there is moved aside.")] = False,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Judge the retriever alone: each question is one query, no agent plays.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play the test questions with an agent as it is, print how it did, and keep every episode.

    The same command goes on where it was stopped, and plays nothing twice.
    """
    from sdsearch.evaluation.command import evaluated

    experiment, folder, step = evaluated(place if place.is_dir() else located(place), set or (), checkpoint)
    if retrieval:
        from sdsearch.rollout.retrieval import quality

        found = quality(experiment, Console(stderr=True))
        print_json(found.record()) if as_json else found.show(Console())
        return
    from accelerate import Accelerator

    from sdsearch.evaluation.evaluate import evaluate as play
    from sdsearch.evaluation.table import show
    from sdsearch.learning.processes import Processes

    processes, console = Processes(Accelerator()), Console(stderr=as_json)
    done = play(experiment, processes, out or folder, fresh, step, console)
    processes.leave()
    if not processes.main:
        return
    if as_json:
        about = {"name": experiment.name, "folder": str(done.folder), "questions": len(done.groups)}
        print_json({**about, **done.scores.record()})
        return
    show(experiment.name, done.scores, console)
    typer.echo(f"everything is in {done.folder}")

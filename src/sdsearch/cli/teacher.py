"""`sdsearch teacher`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from sdsearch.cli.options import Json, Set
from sdsearch.cli.printing import print_json
from sdsearch.cli.spec import located


def teacher(
    place: Annotated[Path, typer.Argument(metavar="SPEC|RUN", help="A spec, or the folder of a run.")],
    set: Set = None,
    hints: Annotated[
        list[str] | None,
        typer.Option(
            "--hint", metavar="NAME|FILE", help="What to judge: hints, or a YAML file with `hints: [...]`. Repeatable."
        ),
    ] = None,
    checkpoint: Annotated[int | None, typer.Option(metavar="STEP", help="Of a run; by default the newest one.")] = None,
    questions: Annotated[int, typer.Option(min=2, help="How many are played, `train.group` attempts each.")] = 40,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which of the spec's questions.")] = "test",
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Read groups that a run has kept instead of playing.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws questions, attempts and hints.")] = 0,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a CSV file with each token of each query.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Does the teacher read its hint? Judge hints with a policy before it is trained, or after.

    Its queries are scored with and without each hint, with every label turned round, and under another question's.
    """
    from sdsearch.teacher.command import know

    spec = place if place.is_dir() else located(place)
    result = know(spec, set or (), checkpoint, questions, hints or (), split, trajectories, seed)
    if save:
        result.save(save)
    if as_json:
        print_json(result.record())
        return
    result.show(Console())

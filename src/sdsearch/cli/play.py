"""`sdsearch play`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

from sdsearch.cli.options import Set, Spec
from sdsearch.cli.spec import experiment_of


def play(
    spec: Spec,
    set: Set = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which of the spec's questions.")] = "test",
    seed: Annotated[int | None, typer.Option(help="Draws the questions; by default the spec's seed.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="How many; by default until you leave.")] = None,
) -> None:
    """Be the agent: search and answer at the terminal, then see what was missed. Ctrl-D leaves.

    The retriever is the spec's; `--set 'environment.retriever={type: bm25, corpus: {type: atlas}}'` starts at once.
    """
    experiment = experiment_of(spec, set)
    from sdsearch.play import play as begin

    begin(experiment, split, experiment.seed if seed is None else seed, questions, Console(highlight=False))

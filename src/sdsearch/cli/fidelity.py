"""`sdsearch fidelity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from sdsearch.cli.options import Json
from sdsearch.cli.printing import print_json


def fidelity(
    ctx: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN...]",
            help="Folders of runs; several are averaged too. Without one, a small problem with known advantages.",
        ),
    ] = None,
    checkpoint: Annotated[int | None, typer.Option(metavar="STEP", help="By default the newest one.")] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many are played: by default 24, or 30 of the small problem, or 1,500 with --gradients."
        ),
    ] = None,
    group: Annotated[
        int | None, typer.Option(min=1, help="Attempts at each; by default the spec's train.group, or 8.")
    ] = None,
    k: Annotated[int, typer.Option(min=2, help="Continuations of each state.")] = 16,
    credits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE", help="What to judge: credits, or a YAML file with `credits: [...]`. Repeatable."
        ),
    ] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which of the spec's questions.")] = "test",
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge stored ones: step_51 is what checkpoint 50 played.")
    ] = None,
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients", help="Where gradients point: without RUN the exact ones tell, of a run more steps."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Draws questions, attempts and continuations; a second run has the next one.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Is the credit right? Compare what methods say of each turn with its true advantage, and write `fidelity.md`.

    The advantages are estimated by playing on, K times, from the states before and after each turn.
    """
    from sdsearch.fidelity import command
    from sdsearch.fidelity.gradients import show
    from sdsearch.fidelity.result import several

    if not runs:
        sources = {n: ctx.get_parameter_source(n) for n in ("checkpoint", "k", "split", "trajectories")}
        given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
        if given:
            raise typer.BadParameter(f"--{', --'.join(given)}: only with RUN, the small problem has no such thing")
        if gradients:
            reports = command.gradients(credits or (), questions or 1500, group or 8, seed)
            print_json([one.record() for one in reports]) if as_json else show(reports, Console())
            return
        known = command.exact(credits or (), questions or 30, group or 8, seed)
        print_json(known.record()) if as_json else known.report().show(Console())
        return
    if gradients:
        for name in ("k", "trajectories"):
            if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE":
                raise typer.BadParameter(f"--{name}: not with --gradients, which plays on from nowhere")
        command.ready(runs, checkpoint)
        pairs = enumerate(runs, seed)
        told = [command.run_gradients(r, checkpoint, questions, group, credits or (), split, s) for s, r in pairs]
        for steady in told:
            steady.show(Console(stderr=as_json))
        if as_json:
            print_json([steady.record() for steady in told])
        return
    # Whoever wants JSON wants nothing else on standard output.
    place, results, console = command.ready(runs, checkpoint), [], Console(stderr=as_json)
    for run_seed, run in enumerate(runs, seed):
        one = command.score_run(
            run, checkpoint, questions or 24, group, k, credits or (), split, trajectories, run_seed
        )
        one.report().show(console)
        typer.echo(f"everything is in {one.write(run)}", err=as_json)
        results.append(one)
    if len(runs) > 1:
        table = several(results)
        table.show(console)
        typer.echo(f"all runs together are in {table.write(place)}", err=as_json)
    if as_json:
        print_json([one.record() for one in results])

"""The command `sdsearch`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

import sdsearch
from sdsearch.errors import SdsearchError, SpecError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sdsearch.spec import Experiment

M = TypeVar("M", bound="BaseModel")


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

Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A YAML file, or the name of one that comes with sdsearch.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one value: train.steps=3, objective.terms.1.weight=0.5. Repeatable."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where runs are kept, instead of the spec's `out`.")
]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Options that need no command."""
    if version:
        typer.echo(sdsearch.__version__)
        raise typer.Exit()


@app.command()
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


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/sd_search/0.")],
) -> None:
    """Write `report.html` into the folder of a run: figures, warnings and episodes on one page."""
    from sdsearch.report.page import page

    typer.echo(page(run))


@app.command()
def episode(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/sd_search/0.")],
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as step_1 or evaluate_20; by default the newest.")
    ] = None,
    number: Annotated[int, typer.Option(min=0, help="Which of them, counted from 0.")] = 0,
) -> None:
    """Print one episode that a run has kept: what the model was shown, what it wrote, and how that was read."""
    from sdsearch.report.episode import pick, told

    for line in told(pick(run, trajectories, number)):
        typer.echo(line)


@app.command("eval")
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


@app.command()
def rescore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an evaluation or of a run.")],
    reward: Annotated[str, typer.Option(metavar="NAME|YAML", help="Such as f1, or '{type: \"mine:Strict\", by: 3}'.")],
    trajectories: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as evaluate_20; by default the newest evaluation.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the kept episodes with another reward. It is written beside them, and nothing is overwritten."""
    from sdsearch.evaluation.rescore import rescore as score

    done = score(run, reward, trajectories)
    if as_json:
        print_json(done.record())
        return
    done.show(Console())


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an evaluation or of a run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one, on the same questions.")],
    as_json: Json = False,
) -> None:
    """Compare two evaluations question by question: the second minus the first, wins, losses and ties."""
    from sdsearch.evaluation.compare import compare as pair

    done = pair(first, second)
    if as_json:
        print_json(done.record())
        return
    done.show(Console())


@app.command()
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


@app.command()
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
    sends, and where to. With --data so does what
    its files and servers hold. A spec that is no experiment says with `kind` what it is.
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


@app.command("list")
def catalogue(
    family: Annotated[str | None, typer.Argument(help="Show only this family, such as `credit`.")] = None,
    name: Annotated[str | None, typer.Argument(help="Show what can be set in this component of the family.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a spec can name: the components, by family, and the specs that come with sdsearch."""
    from sdsearch.config.catalogue import components, parameters, specs
    from sdsearch.contracts.families import FAMILIES, family_of

    if family and name:
        listing(("parameter", "default", "what it is"), [*parameters(family_of(family), name)], as_json)
        return
    chosen = [family_of(family)] if family else FAMILIES.values()
    entries = [*(e for f in chosen for e in components(f)), *(specs() if not family else ())]
    listing(("family", "type", "what it is"), entries, as_json)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="What the spec is about, such as `warmstart`.")] = "experiment",
) -> None:
    """Print the JSON schema of a kind of spec, with which an editor completes and checks YAML."""
    from sdsearch.config.schema import compose

    typer.echo(json.dumps(compose(kind), indent=2, ensure_ascii=False))


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def serve(
    spec: Spec,
    set: Set = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at. With another than the default, others can search too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Answer searches of other programs by the spec's retriever: Search-R1's `POST /retrieve`. Ctrl-C ends it.

    `type: http` in another spec asks it, and so do Search-R1, verl, SkyRL and slime.
    """
    environment = experiment_of(spec, set).environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is nothing to serve")
    from sdsearch.serving.command import serve as run

    patience = getattr(environment, "patience", None)
    run(retriever, getattr(environment, "top_k", 3), host, port, typer.echo, patience)


@app.command()
def index(spec: Spec, set: Set = None) -> None:
    """Build the index of the spec's retriever, or make sure that all of it is there and as it was written."""
    from sdsearch.retrieval.opening import opened

    environment = experiment_of(spec, set).environment
    retriever = getattr(environment, "retriever", None)
    if retriever is None:
        raise SpecError(f"environment.type: {environment.type} has no retriever, so that there is no index to build")
    since = time.perf_counter()
    opened(retriever, getattr(environment, "patience", None), whole=True)
    typer.echo(f"{retriever.type}: ready after {time.perf_counter() - since:.1f} s")


@app.command()
def warmstart(spec: Spec, set: Set = None, out: Out = None) -> None:
    """Make the small model that the embedded experiments start from: clone it on scripted episodes."""
    from sdsearch.warmstart.command import warmstart as make
    from sdsearch.warmstart.spec import WarmStart

    for name, value in make(loaded(spec, set, out, WarmStart)).items():
        typer.echo(f"{name}: {value:.4g}")


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


def experiment_of(spec: Path, overrides: list[str] | None, out: Path | None = None) -> Experiment:
    """Load an experiment as the command line names it."""
    from sdsearch.spec import Experiment

    return loaded(spec, overrides, out, Experiment)


def loaded(spec: Path, overrides: list[str] | None, out: Path | None, model: type[M]) -> M:
    """Load a spec as the command line names it: a file, or else one that comes with the package."""
    from sdsearch.spec import load

    return load(located(spec), changes(overrides, out), model=model)


def changes(overrides: list[str] | None, out: Path | None) -> list[str]:
    """Return what `--set` and `--out` change."""
    return [*(overrides or ()), *([f"out={json.dumps(str(out))}"] if out else ())]


def located(spec: Path) -> Path:
    """Return the file that the command line names: as it is, or else one that comes with the package.

    Raises `SpecError`, with the nearest name, where there is none.
    """
    from sdsearch.config.catalogue import SPECS
    from sdsearch.config.words import suggest

    found = next((p for p in (spec, SPECS.parent / spec, SPECS / spec, SPECS / f"{spec}.yaml") if p.is_file()), None)
    if found is None and not spec.exists():
        ours = [p.relative_to(SPECS).with_suffix("").as_posix() for p in sorted(SPECS.rglob("*.yaml"))]
        named = spec.with_suffix("").as_posix().removeprefix("specs/")
        near = suggest(spec.stem, [p.stem for p in spec.parent.glob("*.y*ml")]) or suggest(named, ours)
        raise SpecError(f"{spec}: there is no such file, nor does such a spec come along (`sdsearch list`){near}")
    return found or spec


def complain(message: str) -> None:
    """Print to standard error, as it is."""
    typer.echo(message, err=True)


def main() -> None:
    """Run the command line."""
    app()

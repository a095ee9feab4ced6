"""`sdsearch study`, top to bottom: read, refuse what has changed, run what is missing, write the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from sdsearch.config.load import load_any, read
from sdsearch.errors import SpecError, StudyError
from sdsearch.report.fonts import any_script
from sdsearch.runs import provenance
from sdsearch.runs.checkpoint import saved
from sdsearch.runs.folder import Run, replace, spec_differences
from sdsearch.runs.old_runs import move
from sdsearch.study.comparison import Comparison
from sdsearch.study.plots import curves, draw, finals
from sdsearch.study.primary import write_down
from sdsearch.study.progress import Board
from sdsearch.study.ray import cluster
from sdsearch.study.record import Record
from sdsearch.study.runs import alone, attempt, run
from sdsearch.study.spec import Job, Study, jobs
from sdsearch.study.table import differences, document, runs, save


def study(
    path: Path, overrides: Sequence[str] = (), address: str | None = None, console: Console | None = None
) -> Comparison:
    """Run what is missing of a study and write its results; return them.

    With `address`, on a Ray cluster; `console` is told how it goes. Raises `SpecError` for a spec that is wrong,
    `CheckpointError` for a record that is damaged, and `StudyError` when a run that is there has another spec or other
    code, when another process runs the study, and, after all others have run, when a run failed.
    """
    console = console or Console()
    loaded = load_any(path, overrides)
    if not isinstance(loaded.spec, Study):
        raise SpecError(f"{path}: kind: got {loaded.kind}, expected study (train takes experiments)")
    settings, planned = loaded.spec, jobs(loaded)
    with alone(settings):
        unchanged(planned)
        write_down(settings, planned)
        done = [job for job in planned if Record.of(job).done]
        missing = [job for job in planned if job not in done]
        place = cluster(settings, address) if address and missing else nullcontext(attempt)
        try:
            with place as play, Board(planned, done, console) as board:
                failed = run(settings, missing, board, play)
        except KeyboardInterrupt:
            write(settings, planned, {})
            raise
        comparison = write(settings, planned, failed)
    console.print(f"the table is in {settings.folder / 'table.md'}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise StudyError(f"{len(failed)} of {len(planned)} runs failed ({', '.join(j.name for j in failed)}): {AGAIN}")
    return comparison


DPI = 120
"""Dots per inch of pictures."""
AGAIN = "when what stopped them is mended, the same command runs them again, and nothing else"


def write(settings: Study, planned: Sequence[Job], failed: Mapping[Job, str]) -> Comparison:
    """Write the results of what has run."""
    comparison = Comparison(settings, planned, failed)
    save(runs(comparison), settings.folder / "results.csv")
    save(differences(comparison), settings.folder / "pairs.csv")
    points = curves(comparison)
    save(points, settings.folder / "curves.csv")
    with any_script():
        draw(comparison, points).savefig(settings.folder / "curves.png", dpi=DPI)
        finals(comparison).savefig(settings.folder / "finals.png", dpi=DPI)
    replace(settings.folder / "table.md", lambda file: file.write_text(document(comparison)))
    return comparison


def unchanged(jobs: Sequence[Job]) -> None:
    """Raise `StudyError` when a run that is there was made from another spec, or by other code, than is there now.

    Old and new figures must not meet in one table. Code of this package changes with its commit, which the checklist
    tells; code from elsewhere has no such name.
    """
    changes = {job.experiment.folder: change for job in jobs if (change := changed(job))}
    if changes:
        arms = "\n".join(f"  {move(p)}" for p in dict.fromkeys(folder.parent for folder in changes))
        raise StudyError(
            "\n".join(f"{folder} {change}" for folder, change in changes.items())
            + "\nSuch figures cannot be compared with those of new runs. Change it back, or give "
            f"the study another name (--set name=...), or move what was run aside and run it again, arm by arm:\n{arms}"
        )


def changed(job: Job) -> str:
    """Say what is no longer as it was when a run began; nothing when all is."""
    folder = job.experiment.folder
    spec = folder / "spec.yaml"
    if not spec.exists():
        return "holds metrics and no spec.yaml: nobody knows of what" * (folder / "metrics.jsonl").exists()
    then, now = read(spec, []).plain(), Run.settled(job.experiment).model_dump(mode="json")
    for settings in (then, now):
        settings.pop("monitors", None)  # when a run warns makes no difference to what it finds
    if changes := spec_differences(then, now):
        return f"was run with another spec: {'; '.join(changes)}"
    if edits := edited(job):
        return f"was run with other code: {'; '.join(edits)}"
    return ""


def edited(job: Job) -> list[str]:
    """Name the components from elsewhere whose source is another one than when the run began."""
    folder = job.experiment.folder
    if not saved(folder / "checkpoints"):  # it begins anew, and nothing that the old code did is kept
        return []
    old, new, files = (
        provenance.recorded(folder).get("code", {}),
        provenance.code(job.experiment),
        provenance.sources(job.experiment),
    )
    return [
        f"the sha256 of {name} ({files[name]}) was {old[name]}... and is {now}..."
        for name, now in new.items()
        if not name.startswith("sdsearch.") and old.get(name, now) != now
    ]

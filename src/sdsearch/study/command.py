"""`sdsearch study`, top to bottom: read, refuse what has changed, run what is missing, write the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import typer

from sdsearch.errors import SpecError, StudyError
from sdsearch.loading.load import load_any
from sdsearch.store.run import replace
from sdsearch.study.board import Board
from sdsearch.study.changes import unchanged
from sdsearch.study.cluster import cluster
from sdsearch.study.comparison import Comparison
from sdsearch.study.curves import curves, draw
from sdsearch.study.finals import finals
from sdsearch.study.record import Record
from sdsearch.study.runs import alone, attempt, run
from sdsearch.study.spec import Job, Study, jobs
from sdsearch.study.table import differences, document, runs, save


def study(path: Path, overrides: Sequence[str] = (), address: str | None = None) -> Comparison:
    """Run what is missing of a study and write its results; return them.

    With `address`, on a Ray cluster. Raises `SpecError` for a spec that is wrong, `CheckpointError` for a record that
    is damaged, and `StudyError` when a run that is there has another spec or other code, when another process runs the
    study, and, after all others have run, when a run failed.
    """
    loaded = load_any(path, overrides)
    if not isinstance(loaded.spec, Study):
        raise SpecError(f"{path}: kind: got {loaded.kind}, expected study (train takes experiments)")
    settings, planned = loaded.spec, jobs(loaded)
    with alone(settings):
        unchanged(planned)
        done = [job for job in planned if Record.of(job).done]
        missing = [job for job in planned if job not in done]
        place = cluster(settings, address) if address and missing else nullcontext(attempt)
        try:
            with place as play, Board(planned, done) as board:
                failed = run(settings, missing, board, play)
        except KeyboardInterrupt:
            write(settings, planned, {})
            raise
        found = write(settings, planned, failed)
    typer.echo(f"the table is in {settings.folder / 'table.md'}")
    if failed:
        raise StudyError(f"{len(failed)} of {len(planned)} runs failed ({', '.join(j.name for j in failed)}): {AGAIN}")
    return found


DPI = 120
"""Dots per inch of pictures."""
AGAIN = "when what stopped them is mended, the same command runs them again, and nothing else"


def write(settings: Study, planned: Sequence[Job], failed: Mapping[Job, str]) -> Comparison:
    """Write the results of what has run."""
    found = Comparison(settings, planned, failed)
    save(runs(found), settings.folder / "results.csv")
    save(differences(found), settings.folder / "pairs.csv")
    points = curves(found)
    save(points, settings.folder / "curves.csv")
    draw(found, points).savefig(settings.folder / "curves.png", dpi=DPI)
    finals(found).savefig(settings.folder / "finals.png", dpi=DPI)
    replace(settings.folder / "table.md", lambda file: file.write_text(document(found)))
    return found

"""The one contrast that a study was made for, and whether it was named before there was anything to see.

A difference that was picked because it is large is not what its interval says. One that was named beforehand needs no
correction for the others; `primary.json` remembers when it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import from_json, to_json

from sdsearch.errors import StudyError
from sdsearch.runs.folder import replace
from sdsearch.study.record import Record
from sdsearch.study.spec import Job, Study

FILE = "primary.json"


class Named(NamedTuple):
    """A primary contrast as it was written down."""

    arm: str
    minus: str
    figure: str
    begun: int
    """How many of the study's runs had begun by then; 0: it was named before it could be chosen by its result."""

    def __str__(self) -> str:
        """Return what is compared."""
        return f"{self.arm} minus {self.minus}, {self.figure}"

    @property
    def beforehand(self) -> bool:
        """Whether nothing had been seen yet."""
        return self.begun == 0


def written(study: Study) -> Named | None:
    """Return what was written down last; None before anything was. Raises `StudyError` when it cannot be read."""
    path = study.folder / FILE
    if not path.exists():
        return None
    try:
        return Named(**from_json(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise StudyError(
            f"{path}: got something that is no primary contrast ({error}): move the file aside, and the contrast "
            "counts as named when it is written again"
        ) from error


def write_down(study: Study, jobs: Sequence[Job]) -> None:
    """Remember the study's primary contrast, unless it is the one that was remembered: the first time counts."""
    if study.primary is None:
        return
    arm, minus, figure = study.primary.arm, study.primary.minus or study.reference, study.primary.figure
    last = written(study)
    if last and (last.arm, last.minus, last.figure) == (arm, minus, figure):
        return
    named = Named(arm, minus, figure, sum(bool(Record.of(job).lines) for job in jobs))
    replace(study.folder / FILE, lambda path: path.write_bytes(to_json(named._asdict(), indent=1)))

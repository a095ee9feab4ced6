"""What has changed since a run of a study began: old and new figures must not meet in one table.

A spec changes, or the code of a component that it names. Code of this package changes with its commit, which the
checklist tells; code from elsewhere has no such name, so that a study refuses to go on with another version of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.errors import StudyError
from sdsearch.loading.reading import read
from sdsearch.store import origin
from sdsearch.store.aside import move
from sdsearch.store.checkpoint import saved
from sdsearch.store.run import differences
from sdsearch.study.spec import Job


def unchanged(jobs: Sequence[Job]) -> None:
    """Raise `StudyError` when a run that is there was made from another spec, or by other code, than is there now."""
    said = {job.experiment.folder: found for job in jobs if (found := changed(job))}
    if said:
        arms = "\n".join(f"  {move(p)}" for p in dict.fromkeys(folder.parent for folder in said))
        raise StudyError(
            "\n".join(f"{folder} {found}" for folder, found in said.items())
            + "\nSuch figures cannot be compared with those of new runs. Change it back, or give "
            f"the study another name (--set name=...), or move what was run aside and run it again, arm by arm:\n{arms}"
        )


def changed(job: Job) -> str:
    """Say what is no longer as it was when a run began; nothing when all is."""
    folder = job.experiment.folder
    spec = folder / "spec.yaml"
    if not spec.exists():
        return "holds metrics and no spec.yaml: nobody knows of what" * (folder / "metrics.jsonl").exists()
    then, now = read(spec, []).plain(), job.experiment.model_dump(mode="json")
    for told in (then, now):
        told.pop("monitors", None)  # when a run warns makes no difference to what it finds
    if found := differences(then, now):
        return f"was run with another spec: {'; '.join(found)}"
    if found := edited(job):
        return f"was run with other code: {'; '.join(found)}"
    return ""


def edited(job: Job) -> list[str]:
    """Name the components from elsewhere whose source is another one than when the run began."""
    folder = job.experiment.folder
    if not saved(folder / "checkpoints"):  # it begins anew, and nothing that the old code did is kept
        return []
    old, new, files = (
        origin.recorded(folder).get("code", {}),
        origin.code(job.experiment),
        origin.sources(job.experiment),
    )
    return [
        f"the sha256 of {name} ({files[name]}) was {old[name]}... and is {now}..."
        for name, now in new.items()
        if not name.startswith("sdsearch.") and old.get(name, now) != now
    ]

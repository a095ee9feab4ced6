"""From what a run learns, in fingerprints: it goes on from a checkpoint only with the same data, corpus and index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from sdsearch.core.question import Question
from sdsearch.errors import CheckpointError
from sdsearch.runs.old_runs import move


def fingerprints(train: Sequence[Question], test: Sequence[Question], retriever: str | None) -> dict[str, str | None]:
    """Return one fingerprint for each key of a spec that names files: what a spec says may stay while they change.

    `retriever` is what the opened retriever says of its corpus and index; None where it does not say.
    """
    return {"data.train": of(train), "data.test": of(test), "environment.retriever": retriever}


def of(questions: Sequence[Question]) -> str:
    """Return the sha256 over all fields of all questions, in their order."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(asdict(question)).encode() + b"\n")
    return digest.hexdigest()


def changed(then: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    """Return the names of the fingerprints that are no longer what they were.

    What did not say its fingerprint then, or does not now, is taken to be the same.
    """
    return [name for name, value in now.items() if value and then.get(name) and then[name] != value]


def refusal(names: Sequence[str], path: Path, folder: Path) -> CheckpointError:
    """Return the error that says what has changed since the checkpoint at `path` was written, and what to do."""
    return CheckpointError(
        f"{' and '.join(f'`{name}`' for name in names)} held something else when {path} was written: the spec is the "
        "same, but not the files that it names. Put them back, go on with what they hold now by --accept-changes, or "
        f"move the run aside and begin it anew:\n  {move(folder)}"
    )

"""An index on disk: a folder that is whole or not there, says what it was built from, and is as it was written.

It is built under another name and renamed when it is complete, with a file that has the checksums of all others. These
are compared before anything reads them, as some libraries that read an index crash on a damaged one. Of a large index a
sample is compared, other blocks each time; `sdsearch index` compares all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any
from uuid import uuid4

from rich.console import Console

from sdsearch.errors import IndexMismatch, IndexUnwritable, advice
from sdsearch.retrieval.opening import now
from sdsearch.terminal.waiting import alone

Facts = Mapping[str, str | int | float | bool | None]

FILE, BLOCK = "index.json", 2**22
LARGE, SAMPLE = 2**30, 64
"""From how many bytes on a sample is compared, and how many blocks of each file that is, beside the first and last."""


def kept(folder: Path, facts: Facts, build: Callable[[Path], None]) -> Path:
    """Return `folder`, filled by `build` if it is not there or damaged; `build` may find what it left when it died.

    One process builds while others wait. A complete index is opened without writing anything. Raises `IndexMismatch`
    for one that was built from something else than `facts` say, `IndexUnwritable` when it has to be built and cannot
    be written.
    """
    if not look(folder, facts):
        return folder
    lock = folder.with_name(f".{folder.name}.lock")
    with writing(folder), alone(lock, f"waiting for another process that builds {folder}"):
        if why := look(folder, facts):
            if why != ABSENT:
                line = f"the index {folder} is damaged ({why}): it is built again"
                Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)
            part = folder.with_name(f".{folder.name}.building")
            part.mkdir(exist_ok=True)
            build(part)
            seal(part, facts)
            replace(part, folder)
    return folder


ABSENT = "it is not there"


def look(folder: Path, facts: Facts) -> str:
    """Return why an index cannot be used; "" if it can.

    Raises `IndexMismatch` for one that is as it was written, but was built from something else.
    """
    if not folder.exists():
        return ABSENT
    try:
        sheet = read(folder / FILE)
        size = sum(int(about["size"]) for about in sheet["files"].values())
        sampled = size > LARGE and not now().whole
        for name, about in sheet["files"].items():
            if wrong := differs(folder / name, about, sampled):
                return wrong
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{FILE}: {error}"
    told = sheet["facts"]
    if wrong := "; ".join(
        f"{n} is {told.get(n, 'not stated')}, expected {v}" for n, v in facts.items() if told.get(n) != v
    ):
        raise IndexMismatch(
            f"the index {folder} was built from something else: {wrong}. Name another one, or none, to have the name "
            "derived"
        )
    return ""


def unlike(got: Facts, expected: Facts) -> str:
    """Return in what an index differs from what is expected of it; "" in nothing."""
    wrong = {name: value for name, value in expected.items() if got.get(name) != value}
    return "; ".join(f"{name} is {got.get(name, 'not stated')}, expected {value}" for name, value in wrong.items())


def read(file: Path) -> dict[str, Any]:
    """Return what the file of an index says. Raises `ValueError` or `OSError`."""
    line, _, digest = file.read_bytes().partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != digest.strip():
        raise ValueError("is not as it was written")
    sheet: dict[str, Any] = json.loads(line)
    return sheet


def differs(file: Path, about: Mapping[str, Any], sampled: bool) -> str:
    """Return how a file differs from what was written, "" if it does not; `sampled`: as far as some blocks show."""
    size, sums = int(about["size"]), about["sha256"]
    if not file.is_file():
        return f"{file.name} is missing"
    if (got := file.stat().st_size) != size:
        return f"{file.name} has {got:,} bytes and was written with {size:,}"
    count = len(sums)
    chosen = (
        sorted({0, count - 1, *SystemRandom().sample(range(count), min(count, SAMPLE))}) if sampled else range(count)
    )
    with file.open("rb") as content:
        for number in chosen if count else ():
            content.seek(number * BLOCK)
            if hashlib.sha256(content.read(BLOCK)).hexdigest() != sums[number]:
                return f"{file.name} is not as it was written, near byte {number * BLOCK:,}"
    return ""


def blocks(file: Path) -> Iterator[str]:
    """Yield the checksum of each block of a file."""
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            yield hashlib.sha256(block).hexdigest()


def seal(folder: Path, facts: Facts) -> None:
    """Write down what an index was built from and the checksums of all its files, and see all of it to the disk."""
    (folder / FILE).unlink(missing_ok=True)
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            files[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": [*blocks(file)]}
            with file.open("rb") as written:
                os.fsync(written.fileno())
    line = json.dumps({"facts": dict(facts), "files": files}).encode()
    with (folder / FILE).open("wb") as sheet:
        sheet.write(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")
        sheet.flush()
        os.fsync(sheet.fileno())


def replace(part: Path, folder: Path) -> None:
    """Put a complete index in its place; a damaged one that is there goes."""
    old = folder.with_name(f".{folder.name}.{uuid4().hex}")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a full disk, or one that may only be read, raises into `IndexUnwritable`."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise IndexUnwritable(
            f"the index {folder} cannot be written ({error.strerror or error}): {advice(error)}, or name another "
            "`path`; what is embedded so far is kept where it could be written"
        ) from error

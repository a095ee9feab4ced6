"""A spec as the command line names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sdsearch.errors import SpecError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sdsearch.spec import Experiment

M = TypeVar("M", bound="BaseModel")


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

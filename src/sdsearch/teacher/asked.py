"""Which hints a teacher is judged with: by name, from a file, or all there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from sdsearch.config.component import Settings, named, resolve
from sdsearch.config.discovery import known
from sdsearch.config.load import load_as
from sdsearch.contracts.hint import Hint, Teacher
from sdsearch.objectives.terms.distill import Distill
from sdsearch.spec import Objective


class Asked(NamedTuple):
    """A hint to judge, and the weights that read it."""

    name: str
    hint: Hint
    teacher: Teacher = "live"


class Chosen(Settings):
    """A YAML file that lists hints with their settings."""

    hints: list[Hint]


def asked(objective: Objective | None, chosen: Sequence[str] = ()) -> list[Asked]:
    """Return what is to be judged: `chosen`, each a hint's name or a YAML file, or else all there is.

    That is what the objective's terms show their teachers, then every hint of the library that can be built without
    settings, as it is by default. Raises `ComponentError` for an unknown name, `SpecError` for a wrong file.
    """
    if chosen:
        return [Asked(name, hint) for name, hint in named([h for word in chosen for h in _named(word)])]
    terms = [t for t in (objective.terms if objective else []) if isinstance(t, Distill) and t.hint]
    found = [Asked(f"{name} ({t.hint.type})", t.hint, t.teacher) for name, t in named(terms) if t.hint]
    for name in known(Hint):
        try:
            found.append(Asked(name, resolve(Hint, name)()))
        except ValidationError:
            continue  # a hint that cannot do without settings is named in a file
    return found


def _named(word: str) -> list[Hint]:
    path = Path(word)
    return load_as(Chosen, path).hints if path.suffix in (".yaml", ".yml") else [resolve(Hint, word)()]

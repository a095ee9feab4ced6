"""What a spec can name, as rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sdsearch.config.component import Component, resolve
from sdsearch.config.discovery import known
from sdsearch.config.words import quoted
from sdsearch.errors import ComponentError

SPECS = Path(__file__).parents[1] / "specs"


class Entry(NamedTuple):
    """One component, or one spec that comes with the package."""

    family: str
    name: str
    about: str


class Parameter(NamedTuple):
    """One parameter of a component."""

    name: str
    default: str
    about: str


def components(family: type[Component]) -> list[Entry]:
    """Return the members of a family with the first line that each says about itself, or what it lacks."""
    entries = []
    for name in known(family):
        try:
            summary = first_line(resolve(family, name).__doc__)
        except ComponentError as error:
            summary = f"cannot be used: {error}"
        entries.append(Entry(family.family, name, summary))
    return entries


def parameters(family: type[Component], name: str) -> list[Parameter]:
    """Return what can be set in a component."""
    fields = []
    for field, info in resolve(family, name).model_fields.items():
        default = "required" if info.is_required() else shown(info.get_default(call_default_factory=True))
        fields.append(Parameter(field, default, " ".join((info.description or "").split())))
    return fields


def shown(value: object) -> str:
    """Return a default as YAML would have it; of a list that is long only how long it is."""
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value))}]"
        return text if len(text) <= 60 else quoted(value)
    return "null" if value is None else value.type if isinstance(value, Component) else quoted(value)


def specs() -> list[Entry]:
    """Return the specs that come with the package, each with the first line of its opening comment."""
    paths = sorted(SPECS.rglob("*.yaml"))
    opening = {p: p.read_text(encoding="utf-8").partition("\n")[0] for p in paths}
    names = {p: str(p.relative_to(SPECS).with_suffix("")) for p in paths}
    return [Entry("spec", names[p], opening[p].removeprefix("#").strip() if "#" in opening[p] else "") for p in paths]


def first_line(text: str | None) -> str:
    """Return the first line of a docstring."""
    return (text or "").strip().partition("\n")[0]

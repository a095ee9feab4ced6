"""Where the members of a family are, found without importing them."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from sdsearch.config.lineage import UNREADABLE, descends, members, source
from sdsearch.config.words import LONGEST_NAME, quoted, suggest
from sdsearch.errors import ComponentError

FOLDERS = {
    "dataset": "sdsearch.envs.data",
    "corpus": "sdsearch.envs.data",
    "retriever": "sdsearch.envs.retrieval",
    "embedder": "sdsearch.envs.embedding",
    "reward": "sdsearch.envs.reward",
    "protocol": "sdsearch.envs.protocol",
    "environment": "sdsearch.envs",
    "agent": "sdsearch.agents",
    "engine": "sdsearch.agents.engines",
    "credit": "sdsearch.objectives.credit",
    "term": "sdsearch.objectives.terms",
    "hint": "sdsearch.objectives.hints",
    "rollouts": "sdsearch.objectives.rollouts",
}

DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?")


class Family(Protocol):
    """A class whose subclasses a spec can choose from."""

    family: ClassVar[str]
    """Its name."""


class Place(NamedTuple):
    """A module and, where the name says so, one class of it."""

    module: str
    attribute: str = ""


def locate(family: type[Family], name: object) -> Place:
    """Return where `name` is. Raises `ComponentError` with the known names when it is none of them.

    Nothing is imported, and what does not look like a member of the family in its source is refused: a spec can run no
    module but one of a member. An entry point was declared by a package that somebody installed, so it is trusted.
    """
    if isinstance(name, str) and len(name) <= LONGEST_NAME and DOTTED.fullmatch(name):
        if "." in name or ":" in name:
            return vetted(family, Place(*name.split(":")))
        if name in _files(family):
            return vetted(family, Place(f"{FOLDERS[family.family]}.{name}"))
        plugins = [e for e in _plugins(family.family) if e.name == name]
        if len({e.value for e in plugins}) > 1:
            raise ComponentError(
                f"{family.family} {quoted(name)} is claimed by several installed packages "
                f"({', '.join(sorted(e.value for e in plugins))}), expected one: write the dotted path instead"
            )
        if plugins:
            return Place(plugins[0].module, plugins[0].attr or "")
    names = known(family)
    raise ComponentError(
        f"unknown {family.family} {quoted(name)}, expected one of {', '.join(names) or '(none is installed)'} "
        f"or a dotted path{module_called(family, name) or suggest(name, names)}"
    )


def module_called(family: type[Family], name: object) -> str:
    """Return a clause on the module of this name, where its source shows members of the family; it is not imported."""
    if not (isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST_NAME):
        return ""
    try:
        names = members(source(name) or "", name, family)
    except UNREADABLE:
        return ""
    return f"; there is a module {name}: write {' or '.join(f'{name}:{n}' for n in names)}" if names else ""


def vetted(family: type[Family], place: Place) -> Place:
    """Return a place at which the source shows a member of the family. Raises `ComponentError` for any other."""
    if place.module in sys.modules:
        return place
    try:
        text = source(place.module)
        names = members(text or "", place.module, family)
    except ModuleNotFoundError as error:
        raise ComponentError(unavailable(family.family, place, error)) from error
    except UNREADABLE as error:
        raise ComponentError(f"{place.module} cannot be read as Python: {error}") from error
    if text is None:
        raise ComponentError(
            f"{place.module} is compiled: expected a module with Python source, which can be looked into before it is "
            f"run, or an entry point of the group sdsearch.{family.family}"
        )
    if not (descends(f"{place.module}.{place.attribute}", family) if place.attribute else names):
        raise ComponentError(absent(family, place, names))
    return place


NONE = "(it defines none whose base class is written as it was imported: no alias, no `import *`, no `Base[...]`)"


def absent(family: type[Family], place: Place, names: Sequence[str]) -> str:
    """Return what to say about a module that is there, has the members `names`, and not the one that is asked for."""
    if place.attribute:
        listed = f"expected one of {', '.join(names) or NONE}{suggest(place.attribute, names)}"
        return f"{place.module} has no {family.family} {quoted(place.attribute)}, {listed}"
    listed = f" ({', '.join(names)}): write {place.module}:{names[0]}" if names else ""
    return f"{place.module} defines {len(names)} members of the family {family.family}, expected one{listed}"


def known(family: type[Family]) -> list[str]:
    """Return the names of the family's files and installed entry points, sorted."""
    files = _files(family).values()
    changed = tuple(sorted((str(f.parent), f.parent.stat().st_mtime_ns) for f in files))
    return sorted({e.name for e in _plugins(family.family)} | _members_in(family, FOLDERS.get(family.family), changed))


@lru_cache(maxsize=64)
def _members_in(family: type[Family], folder: str | None, changed: object) -> set[str]:
    # Families that share a folder are told apart by their source: importing every file would load every engine.
    names = set()
    for name in _files(family):
        with suppress(*UNREADABLE):
            if members(source(f"{folder}.{name}") or "", f"{folder}.{name}", family):
                names.add(name)
    return names


@cache
def _plugins(family: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"sdsearch.{family}"))


def _files(family: type[Family]) -> dict[str, Path]:
    """Return the modules of the family's folder by name."""
    try:
        folder = importlib.import_module(FOLDERS[family.family])
    except (KeyError, ModuleNotFoundError):
        return {}
    modules = ((m.name, Path(path)) for path in folder.__path__ for m in pkgutil.iter_modules([path]))
    return {name: path / f"{name}.py" for name, path in modules if not name.startswith("_")}


def unavailable(family: str, place: Place, error: ModuleNotFoundError) -> str:
    """Return what to say when a module was not found, or a package that it needs; nothing when the fault is its own."""
    missing = error.name or str(error)
    if place.module == missing or place.module.startswith(f"{missing}."):
        return (
            f"unknown {family} {quoted(':'.join(filter(None, place)))}: there is no module {quoted(missing)}, "
            "expected one on Python's path: name its folder in PYTHONPATH; those of spec and command are not "
            "looked into"
        )
    if missing.partition(".")[0] == place.module.partition(".")[0]:
        return ""
    return f"{place.module} needs the package {quoted(missing)}, which is not installed: {remedy(missing)}"


def remedy(package: str) -> str:
    """Return the command that installs what a missing import needs."""
    root = package.partition(".")[0].replace("_", "-").lower()
    try:
        extras = re.findall(
            rf"^{re.escape(root)}\b.*extra == ['\"](\w+)['\"]", "\n".join(requires("sdsearch") or ()), re.M
        )
    except PackageNotFoundError:
        extras = []
    extras = [extra for extra in extras if extra != "dev"]
    return f"pip install 'sdsearch[{extras[0]}]'" if extras else f"pip install {root}"

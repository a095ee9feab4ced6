"""Where the members of a family are, found without importing them."""

from __future__ import annotations

import ast
import difflib
import importlib
import json
import pkgutil
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, entry_points, requires
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sdsearch.errors import ComponentError

if TYPE_CHECKING:
    from sdsearch.component import Component

FOLDERS = {
    "dataset": "sdsearch.envs.data",
    "corpus": "sdsearch.envs.data",
    "retriever": "sdsearch.envs.retrieval",
    "embedder": "sdsearch.envs.embedding",
    "reward": "sdsearch.envs.reward",
    "protocol": "sdsearch.envs.protocol",
    "agent": "sdsearch.agents",
    "engine": "sdsearch.agents.engines",
    "credit": "sdsearch.objectives.credit",
    "term": "sdsearch.objectives.terms",
    "hint": "sdsearch.objectives.hints",
}

DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?")


class Place(NamedTuple):
    """A module and, where the name says so, one class of it."""

    module: str
    attribute: str = ""


def locate(family: type[Component], name: object) -> Place:
    """Return where `name` is. Raises `ComponentError` with the known names when it is none of them."""
    if isinstance(name, str) and DOTTED.fullmatch(name):
        if "." in name or ":" in name:
            return Place(*name.split(":"))
        if name in _files(family):
            return Place(f"{FOLDERS[family.family]}.{name}")
        plugins = [e for e in entry_points(group=f"sdsearch.{family.family}") if e.name == name]
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
        f"or a dotted path{suggest(name, names)}"
    )


def known(family: type[Component]) -> list[str]:
    """Return the names of the family's files and installed entry points, sorted."""
    plugins = {e.name for e in entry_points(group=f"sdsearch.{family.family}")}
    return sorted(plugins | {name for name, file in _files(family).items() if _bases(file) & _ancestors(family)})


def _files(family: type[Component]) -> dict[str, Path]:
    """Return the modules of the family's folder by name."""
    try:
        folder = importlib.import_module(FOLDERS[family.family])
    except (KeyError, ModuleNotFoundError):
        return {}
    found = ((m.name, Path(path)) for path in folder.__path__ for m in pkgutil.iter_modules([path]))
    return {name: path / f"{name}.py" for name, path in found if not name.startswith("_")}


def _bases(file: Path) -> set[str]:
    # Families that share a folder are told apart by their source: importing every file would load every engine.
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError):
        return set()
    bases = [b for c in tree.body if isinstance(c, ast.ClassDef) for b in c.bases]
    return {b.attr if isinstance(b, ast.Attribute) else ast.unparse(b) for b in bases}


def _ancestors(family: type[Component]) -> set[str]:
    found = {family}
    while new := {s for c in found for s in c.__subclasses__()} - found:
        found |= new
    return {c.__name__ for c in found}


def unavailable(family: str, place: Place, error: ModuleNotFoundError) -> str:
    """Return what to say when a module was not found, or a package that it needs; nothing when the fault is its own."""
    missing = error.name or str(error)
    if place.module == missing or place.module.startswith(f"{missing}."):
        return (
            f"unknown {family} {quoted(':'.join(filter(None, place)))}: there is no module {quoted(missing)}, "
            "expected one that Python can import: is its folder on PYTHONPATH?"
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
    return f"pip install 'sdsearch[{extras[0]}]'" if extras else f"pip install {root}"


def quoted(value: object) -> str:
    """Return a value as an error message shows it: on one line and not too long."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case bool() | int() | float() | str():
            shown = json.dumps(value, ensure_ascii=False)
        case _:
            shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def suggest(word: object, words: Iterable[str]) -> str:
    """Return a did-you-mean clause, or nothing when no word is near."""
    near = difflib.get_close_matches(str(word), list(words), n=1)
    return f"; did you mean {quoted(near[0])}?" if near else ""

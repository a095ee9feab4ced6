"""Which classes of a family a module has, read from its source.

Importing a module runs it. What a spec names is therefore looked at first: the module is found, its source parsed, and
its classes followed to their bases, through imports and other modules, before anything of it is run. No more is
promised: a base that is only known once code has run (an alias, `import *`, a call) is not followed.
"""

from __future__ import annotations

import ast
import pkgutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from typing import Any, NamedTuple

UNREADABLE = (ImportError, SyntaxError, ValueError, RecursionError)
"""What reading the source of a module may raise."""


class Bindings(NamedTuple):
    """What the names of a module mean, as absolute dotted names of other things."""

    names: dict[str, list[str]]
    """For a class its bases, for anything that was imported what it stands for."""
    classes: list[str]
    """The classes that the module itself defines, in order."""


def find(module: str) -> ModuleSpec:
    """Return where a module is; no package on the way to it is imported.

    Raises `ModuleNotFoundError` with the name of the part that is not there.
    """
    path: Iterable[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for name in (".".join(parts[: i + 1]) for i in range(len(parts))):
        spec = _spec(name, path)
        if spec is None:
            raise ModuleNotFoundError(f"no module {name}", name=name)
        path = getattr(sys.modules.get(name), "__path__", None) or spec.submodule_search_locations or ()
    assert spec is not None
    return spec


def _spec(name: str, path: Iterable[str] | None) -> ModuleSpec | None:
    if path is None:
        finders = (f.find_spec for f in sys.meta_path if hasattr(f, "find_spec"))
        return next((s for f in finders if (s := f(name, None))), None)
    # `importlib` asks for the parts of a namespace package in `sys.modules`, that is, after they were imported.
    importers = (i for folder in path if (i := pkgutil.get_importer(folder)) and hasattr(i, "find_spec"))
    specs = [s for i in importers if (s := i.find_spec(name))]
    if not specs or any(s.loader for s in specs):
        return next((s for s in specs if s.loader), None)
    spaces = ModuleSpec(name, None, is_package=True)
    spaces.submodule_search_locations = [p for s in specs for p in s.submodule_search_locations or ()]
    return spaces


def source(module: str) -> str | None:
    """Return the source of a module; None when it is compiled. Raises one of `UNREADABLE`."""
    spec = find(module)
    if spec.loader is None:
        return ""
    read = getattr(spec.loader, "get_source", None)
    text: str | None = read(spec.name) if read else None
    return text


def members(text: str, module: str, family: type) -> list[str]:
    """Return the classes that the source of a module defines and that descend from `family`."""
    return [name for name in bindings(text, module).classes if descends(f"{module}.{name}", family)]


def descends(name: str, family: type) -> bool:
    """Say whether an absolute dotted name is a class that descends from `family`, as far as source tells.

    A module that is loaded already is asked itself.
    """
    ahead, seen = [name], set[str]()
    while ahead:
        module, _, last = (name := ahead.pop()).rpartition(".")
        if name in seen or not module:
            continue
        seen.add(name)
        known: Any = getattr(sys.modules.get(module), "__dict__", {}).get(last)
        if issubclass(type(known), type):
            if issubclass(known, family):
                return True
            continue
        try:
            ahead += bindings(source(module) or "", module).names.get(last, [])
        except UNREADABLE:
            continue
    return False


@lru_cache(maxsize=512)
def bindings(text: str, module: str) -> Bindings:
    """Read what the names at the top level of a source mean. Raises one of `UNREADABLE`."""
    names: dict[str, list[str]] = {}
    classes: list[str] = []
    package = module if _is_package(module) else module.rpartition(".")[0]

    def absolute(expression: ast.expr) -> str:
        head, _, rest = ast.unparse(expression).partition(".")
        start = names.get(head) if head not in classes else None
        return ".".join(filter(None, (start[0] if start else f"{module}.{head}", rest)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text, module)
    for node in _statements(tree.body):
        match node:
            case ast.ClassDef(name=name):
                names[name] = [absolute(base) for base in node.bases]
                classes.append(name)
            case ast.Import():
                for item in node.names:
                    top = item.name.partition(".")[0]
                    names[item.asname or top] = [item.name if item.asname else top]
            case ast.ImportFrom():
                above = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
                names |= {item.asname or item.name: [f"{above}.{item.name}"] for item in node.names}
    return Bindings(names, list(dict.fromkeys(classes)))


def _is_package(module: str) -> bool:
    try:
        return find(module).submodule_search_locations is not None
    except ModuleNotFoundError:
        return False


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            inner = (getattr(node, part, ()) for part in ("body", "orelse", "finalbody"))
            yield from _statements(s for part in inner for s in part)
            yield from _statements(s for h in getattr(node, "handlers", ()) for s in h.body)

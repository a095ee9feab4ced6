"""From files and overrides to the object that a spec stands for, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sdsearch.components.component import Readers, Settings
from sdsearch.components.discovery import quoted
from sdsearch.errors import SpecError
from sdsearch.loading.document import Node, Place
from sdsearch.loading.kinds import DEFAULT, kind_of, model_of
from sdsearch.loading.problems import explain
from sdsearch.loading.reading import put, read

MOST_PROBLEMS = 100
"""Problems that one message lists."""

M = TypeVar("M", bound=BaseModel)


class Loaded(NamedTuple):
    """A spec of any kind, and the tree that it was read from, in which every value knows where it was written."""

    kind: str
    spec: Settings
    root: Node

    def plain(self) -> dict[str, Any]:
        """Return the spec in mappings and lists, defaults written out, its kind first unless it is an experiment."""
        kind = {} if self.kind == DEFAULT else {"kind": self.kind}
        return {**kind, **self.spec.model_dump(mode="json")}


def load_as(model: type[M], path: str | Path, overrides: Sequence[str] = ()) -> M:
    """Read a spec for `model`; one that names another kind is refused. See `sdsearch.spec.load`."""
    problems: list[str] = []
    root, kind = tree(path, overrides, problems)
    wanted = kind_of(model)
    if kind and wanted and kind.value != wanted:
        problems.append(f"{kind.place}: kind: got {quoted(kind.value)}, expected {quoted(wanted)}")
        raise complaint(problems)
    return build(root, model, problems)


def load_any(path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read a spec of the kind that it names; see `load`."""
    problems: list[str] = []
    root, kind = tree(path, overrides, problems)
    if kind is None:
        return Loaded(DEFAULT, build(root, model_of(DEFAULT), problems), root)
    try:
        model = model_of(kind.value)
    except SpecError as error:
        raise complaint([*problems, f"{kind.place}: kind: {error}"]) from error
    spec = build(root, model, problems)
    return Loaded(kind.value, spec, Node({"kind": kind, **root.value}, root.place))


def tree(path: str | Path, overrides: Sequence[str], problems: list[str]) -> tuple[Node, Node | None]:
    """Return what was written, the name filled in, and apart from it the node of `kind`."""
    try:
        root = read(Path(path), problems)
    except SpecError as error:
        raise complaint([*problems, str(error)]) from error
    for override in overrides:
        root = put(root, override, problems)
    stem = re.sub(r"[^\w.-]", "_", Path(path).stem, flags=re.A)
    root.value.setdefault("name", Node(stem, Place(f"{path} (its name)")))
    return root, root.value.pop("kind", None)


def build(root: Node, model: type[M], problems: list[str]) -> M:
    """Return the object that a tree stands for. Raises `SpecError` with the given problems and those that it finds."""
    if root.keys.get("name") is None and "name" not in model.model_fields:
        del root.value["name"]
    data, readers = root.plain(), Readers()
    try:
        built = model.model_validate(data, context=readers)
    except ValidationError as error:
        problems += explain(error, root, data, readers)
    if problems:
        raise complaint(problems)
    return built


def complaint(problems: Sequence[str]) -> SpecError:
    """Return the error that lists problems, the first ones of very many."""
    more = len(problems) - MOST_PROBLEMS
    return SpecError("\n".join([*problems[:MOST_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])]))

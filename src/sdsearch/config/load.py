"""From files and overrides to the object that a spec stands for, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sdsearch.config.component import Component, Readers, Settings, resolve
from sdsearch.config.document import Node, Place
from sdsearch.config.problems import explain
from sdsearch.config.scalars import clean, expanded
from sdsearch.config.words import quoted, suggest
from sdsearch.config.yaml import DEEPEST, LARGEST, parse
from sdsearch.errors import ComponentError, SpecError

KINDS = {
    "experiment": "sdsearch.spec.experiment:Experiment",
    "study": "sdsearch.study.spec:Study",
    "warmstart": "sdsearch.warmstart.spec:WarmStart",
}
"""Where the model of each kind is: a subclass of `Settings`, imported only when it is asked for.

A kind could be guessed from a spec's keys, but then one misspelt key would turn every message into nonsense."""

DEFAULT = "experiment"


def model_of(kind: object) -> type[Settings]:
    """Return the model that reads a kind of spec. Raises `SpecError` when there is none of that name."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpecError(f"unknown kind {quoted(kind)}, expected one of {', '.join(KINDS)}{suggest(kind, KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    model: type[Settings] = getattr(import_module(module), name)
    return model


def kind_of(model: type[BaseModel]) -> str | None:
    """Return the kind that a model reads; None for a model that is none of ours."""
    place = f"{model.__module__}:{model.__qualname__}"
    return next((kind for kind, where in KINDS.items() if where == place), None)


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
    root.value.setdefault("name", Node(clean(Path(path).stem), Place(f"{path} (its name)")))
    return root, root.value.pop("kind", None)


def build(root: Node, model: type[M], problems: list[str]) -> M:
    """Return the object that a tree stands for. Raises `SpecError` with the given problems and those that it finds."""
    if root.keys.get("name") is None and "name" not in model.model_fields:
        del root.value["name"]
    problems += moved(root, model)
    data, readers = root.placed(), Readers()
    try:
        built = model.model_validate(data, context=readers)
    except ValidationError as error:
        problems += explain(error, root, data, readers)
    if problems:
        raise complaint(problems)
    return built


def whole(root: Node, built: Any) -> Any:
    """Return what was written in mappings and lists, but for its paths: these are as `built` has them.

    It says the same wherever it is put.
    """
    match root.value:
        case dict() as nodes:
            inner = built.get if isinstance(built, Mapping) else partial(_attribute, built)
            return {key: whole(node, inner(key)) for key, node in nodes.items()}
        case list() as nodes:
            items = built if isinstance(built, list | tuple) else ()
            return [whole(node, item) for node, item in zip_longest(nodes, items)]
        case str() if isinstance(built, str | Path) and Path(built).is_absolute():
            return str(built)
    return root.value


def _attribute(built: Any, name: str) -> Any:
    return getattr(built, name, None)


def moved(root: Node, model: type[BaseModel]) -> list[str]:
    """Take out what an earlier edition called otherwise, and return a line for each: where it is now.

    A model's `moved` names a key, "agent.model", or one value of a key, "agent.type=local", which goes with all that
    stands beside it. A key that the component at that place has itself has not moved.
    """
    lines = []
    for what, where in getattr(model, "moved", {}).items():
        key, _, value = what.partition("=")
        *above, last = key.split(".")
        holder: Node | None = root
        for part in above[:-1] if value else above:
            inner = holder.value.get(part) if holder and isinstance(holder.value, dict) else None
            holder = inner
        if holder is None or not isinstance(holder.value, dict):
            continue
        name = above[-1] if value else last
        node = holder.value.get(name)
        if node is None or (not value and name in fields(model, above, holder)):
            continue
        if value:
            word = node.value.get(last) if isinstance(node.value, dict) else node
            if word is None or word.value != value:
                continue
        del holder.value[name]
        lines.append(f"{holder.keys.get(name, node.place)}: {key}: {where}")
    return lines


def fields(model: type[BaseModel], path: Sequence[str], node: Node) -> Collection[str]:
    """Return the keys of the component that stands at a key of a model; none where no such component is known."""
    field = model.model_fields.get(path[0]) if len(path) == 1 else None
    family = field.annotation if field else None
    named = node.value.get("type") if isinstance(node.value, dict) else None
    if named is None or not (isinstance(family, type) and issubclass(family, Component)):
        return ()
    try:
        return resolve(family, named.value).model_fields
    except ComponentError:
        return ()


def complaint(problems: Sequence[str]) -> SpecError:
    """Return the error that lists problems, the first ones of very many."""
    more = len(problems) - MOST_PROBLEMS
    return SpecError("\n".join([*problems[:MOST_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])]))


MOST_BASES = 8
"""Files that a spec may be based on, one below the other."""


def read(path: Path, problems: list[str], below: tuple[Path, ...] = (), left: int = LARGEST) -> Node:
    """Return the tree of a YAML file laid upon that of its `base`, if it names one.

    `below` are the files that are based on this one, `left` is how many bytes it may have. Raises `SpecError` when a
    file cannot be read, is not a mapping, or is its own base.
    """
    try:
        chain = (*below, path.resolve())
        # A pipe as a base would wait for ever; what the command line names may be one.
        if below and path.exists() and not path.is_file():
            raise SpecError(f"{path}: is no file, expected a YAML file")
        with path.open("rb") as file:
            raw = file.read(left + 1)
        if len(raw) > left:
            raise SpecError(f"{path}: larger than {left} bytes, expected {LARGEST} at most of a spec and its bases")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{_at(path, error)} is not UTF-8, expected a text file") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise SpecError(f"{path}: cannot be read: {_why(path, error)}") from error
    if chain[-1] in below or len(below) > MOST_BASES:
        raise SpecError(f"{path}: is based on itself, or on more than {MOST_BASES} others")
    root = parse(text, str(path), problems)
    if not isinstance(root.value, dict):
        raise SpecError(f"{root.place}: got {quoted(root.value)}, expected a mapping of sections such as `data: ...`")
    if "base" not in root.value:
        return root
    base, at = root.value.pop("base"), root.keys.pop("base")
    if not isinstance(base.value, str):
        raise SpecError(f"{base.place}: base: got {quoted(base.value)}, expected the path of a spec")
    try:
        under = read(path.parent / expanded(base.value), problems, chain, left - len(raw))
    except (SpecError, ValueError) as error:
        raise SpecError(f"{at}: base: {error}") from error
    # A run is kept under its name: an ablation must not write into the folder of what it is based on.
    nodes = {key: node for key, node in typed(under).value.items() if key != "name"}
    return Node(nodes, under.place, under.keys).merge(root)


DEFAULT_TYPES = {"environment": "search"}
"""What a section is that does not say its `type`, where its family has a default."""


def typed(root: Node) -> Node:
    """Return a whole tree in which such sections say what they are: another `type` then replaces them, as any other."""
    said = {
        key: Node({"type": Node(name, Place("default")), **node.value}, node.place, node.keys)
        for key, name in DEFAULT_TYPES.items()
        if (node := root.value.get(key)) and isinstance(node.value, dict) and "type" not in node.value
    }
    return Node({**root.value, **said}, root.place, root.keys)


def _at(path: Path, error: UnicodeDecodeError) -> str:
    before = error.object[: error.start].decode("utf-8")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{Place(str(path), line, column)}: byte {error.start} (0x{error.object[error.start]:02x})"


def _why(path: Path, error: Exception) -> str:
    reason = str(getattr(error, "strerror", None) or error)
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        return reason + suggest(path.stem, sorted(p.stem for p in path.parent.glob("*.yaml")))
    return f"{reason}, expected a YAML file" if isinstance(error, IsADirectoryError) else reason


def put(root: Node, override: str, problems: list[str]) -> Node:
    """Return the tree with an override such as "objective.terms.1.weight=0.5" put in."""
    source = f"--set {override}" if len(override) <= 200 else f"--set {override[:197]}..."
    path, equals, text = override.partition("=")
    steps = re.sub(r"\[(\d+)\]", r".\1", path.strip()).split(".")
    if not equals or not all(steps) or len(steps) > DEEPEST:
        problems.append(f"{source}: expected a path and a value, such as train.steps=3")
        return root
    try:
        return typed(root).put(steps, parse(text, source, problems, inline=True))
    except SpecError as error:
        problems.append(str(error))
    except LookupError as error:
        problems.append(f"{source}: {error.args[0]}")
    return root

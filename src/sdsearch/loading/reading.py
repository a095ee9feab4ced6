"""What makes up a spec: a file, the files that it is based on, and the overrides of a command line."""

from __future__ import annotations

import re
from pathlib import Path

from sdsearch.components.discovery import quoted, suggest
from sdsearch.errors import SpecError
from sdsearch.loading.document import Node, Place
from sdsearch.loading.yamltext import DEEPEST, LARGEST, parse

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
        under = read(path.parent / base.value, problems, chain, left - len(raw))
    except SpecError as error:
        raise SpecError(f"{at}: base: {error}") from error
    # A run is kept under its name: an ablation must not write into the folder of what it is based on.
    own = {key: node for key, node in under.value.items() if key != "name"}
    return Node(own, under.place, under.keys).merge(root)


def _at(path: Path, error: UnicodeDecodeError) -> str:
    before = error.object[: error.start].decode("utf-8")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{Place(str(path), line, column)}: byte {error.start} (0x{error.object[error.start]:02x})"


def _why(path: Path, error: Exception) -> str:
    said = str(getattr(error, "strerror", None) or error)
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        return said + suggest(path.stem, sorted(p.stem for p in path.parent.glob("*.yaml")))
    return f"{said}, expected a YAML file" if isinstance(error, IsADirectoryError) else said


def put(root: Node, override: str, problems: list[str]) -> Node:
    """Return the tree with an override such as "objective.terms.1.weight=0.5" put in."""
    source = f"--set {override}" if len(override) <= 200 else f"--set {override[:197]}..."
    path, equals, text = override.partition("=")
    steps = re.sub(r"\[(\d+)\]", r".\1", path.strip()).split(".")
    if not equals or not all(steps) or len(steps) > DEEPEST:
        problems.append(f"{source}: expected a path and a value, such as train.steps=3")
        return root
    try:
        return root.put(steps, parse(text, source, problems, inline=True))
    except SpecError as error:
        problems.append(str(error))
    except LookupError as error:
        problems.append(f"{source}: {error.args[0]}")
    return root

"""What makes up a spec: a file, the files that it is based on, and the overrides of a command line."""

from __future__ import annotations

import re
from pathlib import Path

from sdsearch.discovery import quoted
from sdsearch.document import Node
from sdsearch.errors import SpecError
from sdsearch.yamltext import DEEPEST, LARGEST_FILE, parse


def read(path: Path, problems: list[str], below: tuple[Path, ...] = ()) -> Node:
    """Return the tree of a YAML file laid upon that of its `base`, if it names one.

    Raises `SpecError` when a file cannot be read, is not a mapping, or is its own base.
    """
    try:
        chain = (*below, path.resolve())
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8, expected a text file") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise SpecError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > LARGEST_FILE:
        raise SpecError(f"{path}: larger than {LARGEST_FILE} bytes, expected a spec")
    if chain[-1] in below or len(below) > DEEPEST:
        raise SpecError(f"{path}: is based on itself, or on more than {DEEPEST} others")
    root = parse(text, str(path), problems)
    if not isinstance(root.value, dict):
        raise SpecError(f"{root.place}: got {quoted(root.value)}, expected a mapping of sections such as `data: ...`")
    if "base" not in root.value:
        return root
    base, at = root.value.pop("base"), root.keys.pop("base")
    if not isinstance(base.value, str):
        raise SpecError(f"{base.place}: base: got {quoted(base.value)}, expected the path of a spec")
    try:
        under = read(path.parent / base.value, problems, chain)
    except SpecError as error:
        raise SpecError(f"{at}: base: {error}") from error
    # A run is kept under its name: an ablation must not write into the folder of what it is based on.
    own = {key: node for key, node in under.value.items() if key != "name"}
    return Node(own, under.place, under.keys).merge(root)


def put(root: Node, override: str, problems: list[str]) -> Node:
    """Return the tree with an override such as "objective.terms.1.weight=0.5" put in."""
    source = f"--set {override}"
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

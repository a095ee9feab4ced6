"""Where each value of a resolved spec came from: a line of a file, an override, or a default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sdsearch.config.document import Node, Path, written

WIDEST = 60
"""Characters of a value that are shown."""


class Origin(NamedTuple):
    """One value of a resolved spec: its path, the value in YAML, and where it was written."""

    path: str
    value: str
    place: str


def origins(resolved: Any, root: Node | None, path: Path = ()) -> Iterator[Origin]:
    """Yield every value of a resolved spec, in order; a list of scalars that stands on one line is one value.

    `resolved` is the spec with its defaults, in mappings and lists; `root` is the tree that it was made from, None for
    what nobody wrote.
    """
    inside = list(resolved.items() if isinstance(resolved, dict) else enumerate(resolved)) if _holds(resolved) else []
    below = [(key, value, _below(root, key)) for key, value in inside]
    joined = isinstance(resolved, list) and not any(_holds(v) or _line(n) != _line(root) for _, v, n in below)
    if joined or not below:
        shown = json.dumps(resolved, ensure_ascii=False)
        shown = shown if len(shown) <= WIDEST else f"{shown[: WIDEST - 3]}..."
        yield Origin(written(path), shown, str(root.place) if root else "default")
        return
    for key, value, node in below:
        yield from origins(value, node, (*path, key))


def listing(entries: Iterable[Origin]) -> str:
    """Return origins in aligned columns, one line each."""
    rows = list(entries)
    paths, values = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return "".join(f"{row.path:<{paths}}  {row.value:<{values}}  {row.place}\n" for row in rows)


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _line(node: Node | None) -> object:
    return node and node.place[:2]


def _below(root: Node | None, key: str | int) -> Node | None:
    match root and root.value:
        case dict() as values:
            return values.get(key)
        case list() as items:
            return items[key] if isinstance(key, int) and key < len(items) else None
        case str() if key == "type":
            return root  # a bare name
    return None

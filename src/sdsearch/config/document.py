"""A spec as a tree in which every value knows where it was written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from sdsearch.config.scalars import Text
from sdsearch.config.words import quoted

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes, from the root of a spec."""


WORD = re.compile(r"[\w-]{1,60}")


def written(path: Path) -> str:
    """Return a path as it is written in a message: `objective.terms[1].hint`."""
    shown = (f"[{s}]" if isinstance(s, int) else f".{s if WORD.fullmatch(s[:61]) else quoted(s)}" for s in path)
    return "".join(shown).removeprefix(".")


class Place(NamedTuple):
    """Where something was written; an override has no line."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def folder(self) -> str:
        """The folder of the file; "", the working directory, where it was written in none (or in a pipe)."""
        return os.path.dirname(self.source) if self.line and os.path.isfile(self.source) else ""


@dataclass(frozen=True, slots=True)
class Node:
    """A value (a scalar, a list of nodes, or a dict of nodes), where it was written, and where its keys were."""

    value: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)

    def plain(self) -> Any:
        """Return the value without places."""
        match self.value:
            case dict():
                return {key: node.plain() for key, node in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
        return self.value

    def placed(self) -> Any:
        """Return the value without places, but for its texts: these are `Text`."""
        match self.value:
            case dict():
                return {key: node.placed() for key, node in self.value.items()}
            case list():
                return [node.placed() for node in self.value]
            case str():
                text = Text(self.value)
                text.folder = self.place.folder
                return text
        return self.value

    def merge(self, over: Node) -> Node:
        """Return this with `over` laid upon it: mappings merge deeply, everything else is replaced.

        A mapping whose keys are indexes of a list, such as {1: {weight: 0.5}}, changes these items of it. A mapping
        with another `type` replaces too, since its keys mean other things; a bare name that is met by a mapping without
        `type` counts as `{type: name}`.
        """
        below = self.value
        if isinstance(below, list) and isinstance(over.value, dict) and over.value:
            items = {str(i): node for i, node in enumerate(below)}
            if over.value.keys() <= items.keys():
                whole = Node(items, self.place).merge(over)
                return Node(list(whole.value.values()), whole.place)
        if isinstance(below, str) and isinstance(over.value, dict) and "type" not in over.value:
            below = {"type": self}
        if not isinstance(below, dict) or not isinstance(over.value, dict):
            return over
        old, new = below.get("type"), over.value.get("type")
        if old and new and old.value != new.value:
            return over
        merged = {key: below[key].merge(node) if key in below else node for key, node in over.value.items()}
        return Node({**below, **merged}, over.place, {**self.keys, **over.keys})

    def put(self, path: list[str], over: Node) -> Node:
        """Return this with `over` merged in at `path`. Raises `LookupError` where the path leads nowhere."""
        if not path:
            return self.merge(over)
        head, *rest = path
        if isinstance(self.value, list):
            if not head.isdecimal() or len(head) > 9 or int(head) >= len(self.value):
                raise LookupError(f"{quoted(head)} is no index of a list of {len(self.value)}, which count from 0")
            at = int(head)
            return Node([*self.value[:at], self.value[at].put(rest, over), *self.value[at + 1 :]], self.place)
        inner = self.value.get(head) if isinstance(self.value, dict) else None
        under = (inner or Node({}, over.place)).put(rest, over) if rest else over
        keys = {head: over.place} if inner is None else {}
        return self.merge(Node({head: under}, self.place, keys))

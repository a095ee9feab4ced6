"""What pydantic found wrong, in the words of the spec: file:line:column, path, got, expected, did-you-mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from sdsearch.config.component import Component, Readers, Settings, families, resolve
from sdsearch.config.document import Node, Path, Place, written
from sdsearch.config.scalars import INSIDE
from sdsearch.config.words import quoted, suggest

TOP = ("base", "kind")
"""What a spec can have besides the fields of its model."""

OBJECTIONS = "objections"
"""The type of an error that holds several, each a path and a text, in its context under this name."""

EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "none_required": "nothing (null)",
    "path_type": "a path",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_type": "text",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
}


@dataclass
class Fault:
    """What is wrong at one path: all the reasons that the alternatives of a field gave."""

    path: str
    place: Place
    got: str = ""
    expected: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        wanted = f"got {self.got}, expected {' or '.join(dict.fromkeys(self.expected))}" if self.expected else ""
        reasons = "; ".join(dict.fromkeys(filter(None, (wanted, *self.messages))))
        return ": ".join(filter(None, (str(self.place), self.path, reasons)))


class Site(NamedTuple):
    """Where an error is: `owners` read the mapping that holds it, `forks` are the paths at which a union branched."""

    path: Path
    place: Place
    owners: list[type[Settings]]
    forks: set[Path]


def explain(error: ValidationError, root: Node, data: Any, readers: Readers) -> list[str]:
    """Return one line for each thing that is wrong, in the order in which a reader of the files meets them.

    `data` is the very object that was validated, `readers` its context, `root` the tree that it came from.
    """
    raws = [each for raw in error.errors(include_url=False) for each in apart(raw)]
    pairs = [(find(raw["loc"], raw["type"], root, data, readers), raw) for raw in raws]
    # Where one alternative of a union got further than its beginning, it is the one that was meant.
    entered = {fork for site, _ in pairs for fork in site.forks if len(site.path) > len(fork)}
    faults: dict[Path, Fault] = {}
    for site, raw in pairs:
        if site.path in site.forks & entered:
            continue
        fault = faults.setdefault(site.path, Fault(written(site.path), site.place, quoted(raw["input"])))
        describe(fault, raw, site)
    return [str(f) for f in sorted(faults.values(), key=lambda f: (f.place.source != root.place.source, f.place))]


def apart(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return an error, or one for each part of the spec that objects to the whole, or that of something inside."""
    if raw["type"] == INSIDE:
        inner = raw["ctx"]
        loc = (*raw["loc"], *inner["where"])
        return [{"type": inner["type"], "loc": loc, "msg": raw["msg"], "input": inner["input"], "ctx": inner["bound"]}]
    if raw["type"] != OBJECTIONS:
        return [raw]
    parts = raw["ctx"][OBJECTIONS]
    return [{"type": "value_error", "loc": (*raw["loc"], *where), "msg": why, "input": None} for where, why in parts]


def find(loc: Sequence[str | int], kind: str, root: Node, data: Any, readers: Readers) -> Site:
    """Follow the location of an error through the tree, past the names that pydantic gives to alternatives."""
    path: Path = ()
    node, value, place = root, data, root.place
    owners: list[type[Settings]] = []
    forks = set()
    for i, step in enumerate(loc):
        reading = readers.get(id(value), [])
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and step in range(len(value))
        absent = (i + 1 == len(loc) and kind == "missing") or any(step in r.model_fields for r in reading)
        if inside:
            owners, place = reading, node.keys.get(str(step), place)
            node, value = node.value[step], value[step]
            place = place if kind == "extra_forbidden" else node.place
            path += (step,)
        elif absent:
            owners, node, value = reading, Node(None, node.place), None
            path += (step,)
        else:
            forks.add(path)
    return Site(path, place, owners, forks)


def by_default(name: str, owners: list[type[Settings]]) -> str:
    """Return a clause on the member that a family takes by default, if it has a key that another one has not.

    A mapping without `type` that is laid upon one with a `type` keeps that.
    """
    for family in {o.family for o in owners if issubclass(o, Component) and o.default}:
        default = families()[family].default
        if name in resolve(families()[family], default).model_fields:
            return f"; `type: {default}` has it: with that beside it, this replaces what it is laid upon"
    return ""


def describe(fault: Fault, raw: Mapping[str, Any], site: Site) -> None:
    """Add the reason of one error to what is known of its place."""
    kind, message = raw["type"], raw["msg"]
    context = {k: f"{v:g}" if isinstance(v, float) else v for k, v in raw.get("ctx", {}).items()}
    fields = {name: info for owner in site.owners for name, info in owner.model_fields.items()}
    name = str(site.path[-1]) if site.path else ""
    if kind == "extra_forbidden":
        # Where `base` or `kind` is itself unknown (an arm of a study), it is not what was expected.
        words = [*fields, *(TOP if len(site.path) == 1 and name not in TOP else ())]
        choice = f", expected {'one of ' if words else ''}{', '.join(words) or 'none'}" if site.owners else ""
        fault.messages.append(f"unknown key{choice}{suggest(name, words) or by_default(name, site.owners)}")
    elif kind == "missing" and site.path and isinstance(site.path[-1], int):
        fault.expected.append("one item more")
    elif kind == "missing":
        description = fields[name].description if name in fields else None
        fault.messages.append(": ".join(filter(None, ("missing", " ".join((description or "").split())))))
    elif kind in EXPECTED:
        fault.expected.append(EXPECTED[kind].format(**context))
        words = re.findall(r"'([^']*)'", context["expected"]) if kind == "literal_error" else []
        fault.messages.append(suggest(raw["input"], words).removeprefix("; "))
    elif message.startswith("Input should be "):
        fault.expected.append(message.removeprefix("Input should be "))
    else:
        fault.messages.append(re.sub("^(Value error|Assertion failed), ", "", message))

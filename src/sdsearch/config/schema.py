"""The JSON schema (draft 2020-12) of a kind of spec, composed from the components that are there.

An editor that knows it completes keys and values, shows what they mean and marks what is wrong while one types. It is
stricter than the loader about scalars ("3" is no number) and knows of a component outside of this package only its
`type`; rules over several fields are the loader's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from sdsearch.config.catalogue import first_line
from sdsearch.config.component import FAMILY, families, resolve
from sdsearch.config.discovery import known
from sdsearch.config.load import DEFAULT, model_of
from sdsearch.errors import ComponentError

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PARTIAL = ".partial"
"""Ends the name of a definition of what is merged onto a base: nothing is required of it, a list is whole or changed by
index."""
DOTTED: Schema = {"type": "string", "pattern": "[.:]", "description": "A dotted path: pkg.module or pkg.module:Class."}


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave out titles that only repeat the name of a field."""
        return False


def compose(kind: str = DEFAULT) -> Schema:
    """Return the schema of a kind of spec. Raises `SpecError` when there is no such kind."""
    model = model_of(kind)
    members: dict[str, dict[str, type[BaseModel]]] = {}
    broken: dict[str, dict[str, str]] = {}
    while True:
        models = [model, *{m: None for named in members.values() for m in named.values()}]
        refs, schema = models_json_schema([(m, "validation") for m in models], schema_generator=_Generator)
        names = {m: refs[m, "validation"]["$ref"].rpartition("/")[2] for m in models}
        definitions: dict[str, Schema] = schema["$defs"]
        new = {f for d in definitions.values() for f in families_in(d)} - members.keys()
        if not new:
            break
        for family in sorted(new):
            members[family], broken[family] = gather(family)
    for family, named in members.items():
        for name, member in named.items():
            add_type(definitions[names[member]], name, optional=name == families()[family].default)
        definitions[family] = choice(family, {n: names[m] for n, m in named.items()}, broken[family], definitions)
    add_top(definitions[names[model]], kind)
    partial = {f"{name}{PARTIAL}": relax(definition) for name, definition in definitions.items()}
    return {
        "$schema": DRAFT,
        "title": f"sdsearch: {kind}",
        "description": first_line(model.__doc__),
        "type": "object",
        "if": {"required": ["base"]},
        "then": {"$ref": f"#/$defs/{names[model]}{PARTIAL}"},
        "else": {"$ref": f"#/$defs/{names[model]}"},
        "$defs": {name: placed(definition) for name, definition in {**definitions, **partial}.items()},
    }


def gather(family: str) -> tuple[dict[str, type[BaseModel]], dict[str, str]]:
    """Return the members of a family by name, and for those that cannot be used the reason."""
    members: dict[str, type[BaseModel]] = {}
    broken: dict[str, str] = {}
    contract = families()[family]
    for name in known(contract):
        try:
            members[name] = resolve(contract, name)
        except ComponentError as error:
            broken[name] = str(error)
    return members, broken


def choice(family: str, members: dict[str, str], broken: dict[str, str], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a field that takes any member of a family; `members` gives the definition of each name."""
    bare = [name for name, d in members.items() if definitions[d].get("required") == ["type"]]
    unusable = [{"const": n, "description": f"cannot be used: {reason}"} for n, reason in broken.items()]
    by_path = [{"type": "object", "properties": {"type": t}, "required": ["type"]} for t in (DOTTED, *unusable)]
    texts = [{"enum": bare}] if bare else []
    refs = [{"$ref": f"#/$defs/{d}"} for d in dict.fromkeys(members.values())]
    return {"description": first_line(families()[family].__doc__), "anyOf": [*refs, *texts, *by_path, DOTTED]}


def add_type(definition: Schema, name: str, optional: bool = False) -> None:
    """Let the schema of a member require the `type` that names it; one of several names will do.

    It is `optional` for the member that its family takes by default.
    """
    properties = definition.get("properties", {})
    names = [*properties.get("type", {}).get("enum", ()), name]
    named = {"type": {"enum": names, "description": first_line(definition.get("description"))}}
    definition["properties"] = {**named, **{k: v for k, v in properties.items() if k != "type"}}
    required = [key for key in definition.get("required", ()) if key != "type"]
    definition["required"] = required if optional else ["type", *required]


def add_top(definition: Schema, kind: str) -> None:
    """Add to the schema of a kind what a file has besides the fields of its model."""
    base = {"type": "string", "description": "A spec that this one is laid upon: its path, seen from this file."}
    constant = {"const": kind, "description": "What the spec is about."}
    definition["properties"] = {"base": base, "kind": constant, **definition["properties"]}
    required = [key for key in definition.get("required", ()) if key != "name"]
    definition["required"] = [*required, *(["kind"] if kind != DEFAULT else [])]


def families_in(schema: Schema) -> set[str]:
    """Return the families that a schema mentions."""
    return {s[FAMILY] for s in walk(schema) if FAMILY in s}


def placed(schema: Schema) -> Schema:
    """Return a schema in which a family is a reference to its definition."""
    return rebuilt(schema, lambda s: {"$ref": f"#/$defs/{s[FAMILY]}", **_without(s, FAMILY)} if FAMILY in s else s)


def relax(schema: Schema) -> Schema:
    """Return the schema of something that is merged onto a base: see `PARTIAL`."""

    def loose(part: Schema) -> Schema:
        if part.get("additionalProperties") is False:
            part = _without(part, "required")
        if part.get("type") == "array":
            by_index = {"^[0-9]+$": relax(part.get("items", {}))}
            items = {"type": "object", "patternProperties": by_index, "additionalProperties": False}
            notes: Schema = {k: part.pop(k) for k in ("description", "default") if k in part}
            return {"anyOf": [part, items], **notes}
        if FAMILY in part:
            part["$ref"] = f"#/$defs/{part.pop(FAMILY)}"
        return {**part, "$ref": part["$ref"] + PARTIAL} if "$ref" in part else part

    return rebuilt(schema, loose, lists=False)


def rebuilt(schema: Schema, change: Callable[[Schema], Schema], lists: bool = True) -> Schema:
    """Return a schema with `change` made to every schema inside (of list items only if `lists`), and then to it."""
    new = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in new:
            new[keyword] = {name: rebuilt(inner, change, lists) for name, inner in new[keyword].items()}
    for keyword in ("anyOf", "oneOf", "allOf", *(("prefixItems",) if lists else ())):
        if keyword in new:
            new[keyword] = [rebuilt(inner, change, lists) for inner in new[keyword]]
    for keyword in ("additionalProperties", *(("items",) if lists else ())):
        if isinstance(new.get(keyword), dict):
            new[keyword] = rebuilt(new[keyword], change, lists)
    return change(new)


def walk(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and every schema inside."""
    seen: list[Schema] = []

    def note(part: Schema) -> Schema:
        seen.append(part)
        return part

    rebuilt(schema, note)
    yield from seen


def _without(schema: Schema, key: str) -> Schema:
    return {k: v for k, v in schema.items() if k != key}

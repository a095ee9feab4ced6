"""YAML text in and out.

Scalars follow the core schema of YAML 1.2 (so `1e-3` is a number and `no` is a word); tags that name code do not exist.
Sizes are bounded, aliases count as often as they are used: no text takes more than seconds or some megabytes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from sdsearch.config.document import Node, Path, Place, written
from sdsearch.config.words import quoted
from sdsearch.errors import SpecError

LARGEST = 2**18
"""Bytes of the files of a spec together; characters of the keys and scalars of one of them, aliases written out."""
MOST_VALUES = 5_000
"""Mappings, lists and scalars of a file, aliases written out."""
DEEPEST = 50
"""Levels of mappings and lists."""
LONGEST_NUMBER = 100
"""Characters of a number."""

TAG = "tag:yaml.org,2002:"
SCALARS = {
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    "merge": re.compile(r"<<\Z"),
}
"""The plain scalars that are not text; the first that matches is meant."""


class _Loader(yaml.SafeLoader):
    """Composes nodes and constructs nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST or self.count > 2 * MOST_VALUES:  # keys are nodes, too
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            message = f"nested deeper than {DEEPEST}" if self.depth > DEEPEST else f"more than {MOST_VALUES} values"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` and any other reader of YAML read back: text that looks like anything else is quoted."""

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = super().analyze_scalar(scalar)
        # PyYAML writes these line breaks as they are between single quotes and reads them back as a space.
        if any(c in scalar for c in "\x85\u2028\u2029"):
            analysis.allow_single_quoted = analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_block = False
        return analysis


_Loader.yaml_implicit_resolvers = {None: [(f"{TAG}{name}", regex) for name, regex in SCALARS.items()]}
_Dumper.yaml_implicit_resolvers = {**yaml.SafeDumper.yaml_implicit_resolvers, **_Loader.yaml_implicit_resolvers}


def parse(text: str, source: str, problems: list[str], inline: bool = False) -> Node:
    """Return the tree of a YAML text, and add what is wrong with single values to `problems`.

    `source` names the text in messages; `inline` says that lines and columns mean nothing to its author. Raises
    `SpecError` when the text as a whole cannot be read.
    """
    if len(text) > LARGEST:
        raise SpecError(f"{source[:200]}: got {len(text)} characters, expected at most {LARGEST}")
    try:
        root = _Loader(text).get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets "\UFFFFFFFF" and `%YAML 9...9` through
        at = Place(source) if inline else place(error, text, source)
        raise SpecError(f"{at}: not valid YAML: {reason(error, inline)}") from error
    return (
        _Builder(source, problems, inline).node(root, ())
        if root
        else Node(None, Place(source, *(() if inline else (1, 1))))
    )


def write(value: object) -> str:
    """Return YAML that `parse` reads back as `value`, keys in the given order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Builder:
    """Turns composed YAML into nodes, every alias anew."""

    def __init__(self, source: str, problems: list[str], inline: bool) -> None:
        self.source, self.problems, self.inline = source, problems, inline
        self.count = self.size = 0

    def node(self, raw: yaml.Node, path: Path) -> Node:
        place = self.place(raw)
        self.count += 1
        self.size += len(raw.value) if isinstance(raw, yaml.ScalarNode) else 0
        if self.count > MOST_VALUES or self.size > LARGEST or len(path) > DEEPEST:
            raise SpecError(
                f"{place}: {written(path)}: more than {MOST_VALUES} values, {LARGEST} characters or {DEEPEST} levels, "
                "aliases counted in full"
            )
        if isinstance(raw, yaml.MappingNode) and raw.tag == f"{TAG}map":
            return self.mapping(raw, path)
        if isinstance(raw, yaml.SequenceNode) and raw.tag == f"{TAG}seq":
            items = [self.node(item, (*path, i)) for i, item in enumerate(raw.value)]
            return Node(items, place)
        if isinstance(raw, yaml.ScalarNode) and raw.tag.removeprefix(TAG) in ("str", *SCALARS):
            return Node(self.scalar(raw, path), place)
        self.problem(place, path, f"the tag {quoted(raw.tag)} is not supported, expected plain YAML")
        return Node(None, place)

    def mapping(self, raw: yaml.MappingNode, path: Path) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[Node] = []
        for key, value in raw.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(self.place(key), path, "a key is a list or a mapping, expected text")
                continue
            name = self.text(key, path)
            self.size += len(name)
            inner = (*path, name)
            if key.tag == f"{TAG}merge":
                merged += self.merged(value, path)
            elif name in keys:
                self.problem(self.place(key), inner, f"duplicate key, first written at {keys[name]}")
            else:
                keys[name], values[name] = self.place(key), self.node(value, inner)
        for node in merged:
            for name, inner_node in node.value.items():
                values.setdefault(name, inner_node)
                keys.setdefault(name, node.keys[name])
        return Node(values, self.place(raw), keys)

    def merged(self, raw: yaml.Node, path: Path) -> list[Node]:
        listed = raw.value if isinstance(raw, yaml.SequenceNode) else [raw]
        nodes = [self.node(item, (*path, "<<")) for item in listed]
        if all(isinstance(node.value, dict) for node in nodes):
            return nodes
        self.problem(self.place(raw), path, "`<<` takes a mapping or a list of mappings")
        return []

    def scalar(self, raw: yaml.ScalarNode, path: Path) -> bool | int | float | str | None:
        kind, text = raw.tag.removeprefix(TAG), raw.value
        if kind in ("str", "merge"):
            return self.text(raw, path)
        digits = text.replace("_", "").lower()
        if not SCALARS[kind].match(text) or len(digits) > LONGEST_NUMBER:
            self.problem(
                self.place(raw), path, f"got {quoted(text)}, expected {kind} of at most {LONGEST_NUMBER} characters"
            )
            return None
        match kind:
            case "null":
                return None
            case "bool":
                return bool(digits == "true")
            case "int":
                return int(digits, {"0o": 8, "0x": 16}.get(digits[:2], 10))
        return float(re.sub(r"\.(inf|nan)", r"\1", digits))

    def text(self, raw: yaml.ScalarNode, path: Path) -> str:
        text = str(raw.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.problem(self.place(raw), path, "half a character (a lone surrogate), expected whole ones")
            return ""
        return text

    def place(self, raw: yaml.Node) -> Place:
        mark = raw.start_mark
        return Place(self.source) if self.inline else Place(self.source, mark.line + 1, mark.column + 1)

    def problem(self, place: Place, path: Path, message: str) -> None:
        self.problems.append(": ".join(filter(None, (str(place), written(path), message))))


ADVICE = {
    r"'\\t'": "indent with spaces, not tabs",
    r"mapping values are not allowed": "text that holds `: ` needs quotes; or is a line indented too far?",
    r"cannot start any token": "text that begins with this character needs quotes",
    r"expected <block end>": "is a line indented too far, or not far enough?",
    r"could not find expected ':'": "expected `key: value`; text of several lines needs quotes",
    r"undefined alias": "expected an anchor (&name) above it; text that begins with * needs quotes",
    r"another document": "write each spec into a file of its own",
}
"""What to do about an error that contains this."""


def place(error: Exception, text: str, source: str) -> Place:
    """Return where an error is, as far as it knows."""
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    if isinstance(position, int):
        return Place(source, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))
    return Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)


def reason(error: Exception, inline: bool) -> str:
    """Return what is wrong and, where we know it, what to do. `inline`: lines mean nothing to the author."""
    begun = getattr(error, "context_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    if parts[0] and begun and not inline:
        parts[0] += f" (begun at {begun.line + 1}:{begun.column + 1})"
    message = ", ".join(p for p in parts if p) or str(error)
    return "; ".join([message, *(advice for pattern, advice in ADVICE.items() if re.search(pattern, message))][:2])

"""One record of a file: its fields, where it stands, and what is said when it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sdsearch.errors import DataError


class Unusable(DataError):
    """A record lacks what is needed; `reason` is the same for all with this fault, so that they can be counted."""

    def __init__(self, place: str, reason: str, got: str, expected: str) -> None:
        """Take where it stands and what is wrong."""
        super().__init__(f"{place}: got {got}, expected {expected}")
        self.reason = reason


class Record(NamedTuple):
    """An object with named fields. `place` is file and line, or file and row; `number` counts records from 1."""

    place: str
    number: int
    fields: Mapping[str, Any]

    def unusable(self, reason: str, got: str, expected: str) -> Unusable:
        """Return the error that says so."""
        return Unusable(self.place, reason, got, expected)

    def first(self, *names: str) -> Any:
        """Return the first field that is there and is not null; "a.b" is the field b of the field a."""
        return next((value for n in names if (value := self._at(n)) is not None), None)

    def _at(self, name: str) -> Any:
        if name in self.fields or "." not in name:
            return self.fields.get(name)
        head, _, rest = name.partition(".")
        inner = nested(self.fields.get(head))
        return Record(self.place, self.number, inner).first(rest) if isinstance(inner, Mapping) else None

    def required(self, *names: str) -> Any:
        """Return the first of the fields that is there, null or not."""
        for name in names:
            if name in self.fields or self.first(name) is not None:
                return self.first(*names)
        got = f"the fields {named(self.fields)}"
        raise self.unusable(f"no {names[0]}", got, f"texts under {' or '.join(names)}")

    def text(self, *names: str) -> str:
        """Return the first such field, which must be a text that is not blank, without blanks around it."""
        value = self.first(*names)
        if not isinstance(value, str) or not value.strip():
            got = f"the fields {named(self.fields)}" if value is None else f"{names[0]} {value!r:.60}"
            raise self.unusable(f"no {names[0]}", got, f"a text under {' or '.join(names)}")
        return value.strip()

    def id(self, *names: str) -> str:
        """Return the first such field, a text or a whole number, as a text; "" when there is none."""
        value = self.first(*names)
        if value is None or (isinstance(value, str) and not value.strip()) or value != value:
            return ""
        if isinstance(value, float) and value.is_integer():  # a column of whole numbers in which one is missing
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(*names)

    def word(self, *names: str) -> str:
        """Return the first such field if it is a text or a number, else ""."""
        value = self.first(*names)
        return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def answerable(record: Record, fields: Mapping[str, Any]) -> None:
    """Raise `Unusable` where `answerable` says no."""
    if str(fields.get("answerable")).lower() == "false":
        raise record.unusable("not answerable", "`answerable: false`", "a question that can be answered")


def named(fields: Iterable[str]) -> str:
    """Return the names of fields as an error shows them: not too many, and none too long."""
    names = list(fields)
    shown = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:20]]
    return ", ".join([*shown, *([f"and {len(names) - 20} more"] if len(names) > 20 else [])])


def nested(value: Any) -> Any:
    """Return what a text holds in JSON, if it is a list or a mapping; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def rows(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a list, or the rows of a mapping of columns (how Hugging Face keeps a list of mappings)."""
    value = nested(value)
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        names = list(value)
        yield from (dict(zip(names, row, strict=True)) for row in zip(*value.values(), strict=False))
    elif isinstance(value, list):
        yield from (row for row in value if isinstance(row, Mapping))

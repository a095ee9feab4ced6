"""What a scalar of a spec stands for, beyond what pydantic makes of it: paths, names, and `true`, which is not 1.

What a spec reads lies where the spec lies, wherever the command is given: a relative path is seen from the file that
holds the line, as `base` is. What no file holds (`--set`, Python) is seen from the working directory.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, BeforeValidator, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from sdsearch.config.words import quoted


class Text(str):
    """A text that knows in which folder it was written."""

    __slots__ = ("folder",)
    folder: str


VARIABLE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^{}]*))?\})", re.A)


def expanded(text: str) -> str:
    """Return a path with its home folder and its variables written out; `$$` is a dollar.

    `${NAME:-PATH}` is PATH where NAME is unset or empty, as to a shell. Raises `ValueError` for a user or a variable
    that does not exist: a folder called "$HOME" is seldom meant.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if match[3] is not None:
            return os.environ.get(name) or match[3]
        if name and name not in os.environ:
            raise ValueError(
                f"got {quoted(text)}, expected a variable of the environment, which has no {name}; $$ is a dollar"
            )
        return os.environ[name] if name else "$"

    told = VARIABLE.sub(value, text)
    whole = os.path.expanduser(told)
    if told.startswith("~") and whole == told:
        raise ValueError(f"got {quoted(text)}, expected a user of this machine behind ~; ./~ begins the name of a file")
    return whole


def seen(text: str) -> Path:
    """Return the whole path of a text: a relative one starts in the folder in which the text was written."""
    folder = text.folder if isinstance(text, Text) else ""
    path = Path(os.path.abspath(folder), expanded(text))
    # Only the disk knows what lies above a folder, which may be a link.
    return Path(os.path.realpath(path)) if ".." in path.parts else path


class Here(NamedTuple):
    """Marks a field of paths that are seen from the working directory: what is made goes where the command is given."""


OutPath = Annotated[Path, Here()]
"""A folder for what a command makes."""


def _named(value: Any) -> Any:
    is_path = isinstance(value, str) and (value in (".", "..") or value.startswith(("/", "./", "../", "~", "$")))
    return str(seen(value)) if is_path else value


NameOrPath = Annotated[str, BeforeValidator(_named)]
"""The name of something elsewhere, or a path, which begins with `/`, `./`, `../`, `~` or `$`."""


LONGEST = 200
"""Bytes of a name: file systems take 255, and a number or an ending is added."""


def clean(text: str) -> str:
    """Return a text with `_` for all that a name may not hold: letters with their marks, numbers, `_`, `-` and `.`.

    Letters of any script are kept: two files with Chinese names would otherwise share one folder, called "___".
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if c in "_-." or unicodedata.category(c)[0] in "LMN" else "_" for c in composed)


def _checked(text: str) -> str:
    name = unicodedata.normalize("NFC", text)
    if not name or name != clean(name) or name[0] in ".-" or len(name.encode()) > LONGEST:
        raise ValueError(
            f"got {quoted(text)}, expected letters and numbers of any script, `_`, `-` and `.`, not one of the last "
            f"two at the beginning, and at most {LONGEST} bytes"
        )
    return name


Name = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "minLength": 1})]
"""The name of a run, a study or an arm, and of its folder."""


MOST = 10**12
"""The largest number, and with a minus the smallest, of a field that says nothing closer."""


class Kinds(NamedTuple):
    """What a field takes."""

    numbers: frozenset[type]
    """int, float or both, unless it takes `true` as well."""
    flag: bool
    """Whether it takes `true` and `false`, and no number."""
    bounded_above: bool
    bounded_below: bool
    """Whether it says itself which numbers are too large, or too small."""
    paths: bool
    here: bool
    """Whether its paths are seen from the working directory."""
    mappings: bool
    """Whether it is a mapping itself: the values of other mappings are read by the models that they become."""


@cache
def kinds(model: type[BaseModel], name: str) -> Kinds:
    """Return what a field of a model takes."""
    field = model.model_fields[name]
    leaves, bounds = list(_leaves(field.annotation)), [*field.metadata, *_marks(field.annotation)]
    numbers = frozenset[type]() if {bool, Any} & set(leaves) else frozenset({int, float} & set(leaves))
    flag = bool in leaves and not {int, float, Any} & set(leaves)
    here = any(isinstance(mark, Here) for mark in field.metadata)
    above = any(isinstance(mark, Le | Lt) for mark in bounds)
    below = any(isinstance(mark, Ge | Gt) for mark in bounds)
    return Kinds(numbers, flag, above, below, Path in leaves, here, dict in leaves)


def _marks(annotation: Any) -> Iterator[Any]:
    for mark in getattr(annotation, "__metadata__", ()):
        yield from mark.metadata if isinstance(mark, FieldInfo) else [mark]
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _marks(part)


def _leaves(annotation: Any) -> Iterator[Any]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return
    if origin is Annotated:
        inner = inner[:1]
    if origin is dict:
        yield dict
    if not inner:
        yield annotation
    for part in inner:
        yield from _leaves(part)


def read(kind: Kinds, value: Any) -> Any:
    """Return the value of a field as pydantic should see it.

    Raises what pydantic raises, for `true` where a number is expected or the other way round and for a number beyond
    `MOST`, and `ValueError` for a path with a variable that does not exist.
    """
    if kind.flag and isinstance(value, int | float) and not isinstance(value, bool):
        _refuse((), value, "bool_type")
    if kind.numbers:
        for where, scalar in _scalars(kind, value):
            if isinstance(scalar, bool):
                _refuse(where, scalar, "int_type" if kind.numbers == {int} else "float_type")
            if isinstance(scalar, int | float) and scalar > MOST and not kind.bounded_above:
                _refuse(where, scalar, "less_than_equal", {"le": float(MOST)})
            if isinstance(scalar, int | float) and scalar < -MOST and not kind.bounded_below:
                _refuse(where, scalar, "greater_than_equal", {"ge": -float(MOST)})
    if kind.paths:
        return _each(value, (lambda text: Path(expanded(text))) if kind.here else seen)
    return value


Keys = tuple[int | str, ...]
"""The way to what is inside of a field."""
INSIDE = "inside"
"""The type of an error about something inside of a field; its context says where and what (see `problems.apart`)."""


def _refuse(where: Keys, scalar: bool | int | float, known: Any, bound: dict[str, Any] | None = None) -> NoReturn:
    if not where:
        raise PydanticKnownError(known, bound)
    text = f"got {quoted(scalar)} in it, expected numbers between -{MOST:g} and {MOST:g}"
    raise PydanticCustomError(
        INSIDE, "{text}", {"text": text, "where": where, "input": scalar, "type": known, "bound": bound or {}}
    )


def _scalars(kind: Kinds, value: Any, where: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    inner = list(enumerate(value)) if isinstance(value, list | tuple) else []
    if kind.mappings and isinstance(value, dict):
        inner = list(value.items())
    if inner:
        for key, item in inner:
            yield from _scalars(kind, item, (*where, key))
    else:
        yield where, value


def _each(value: Any, change: Callable[[str], Path]) -> Any:
    match value:
        case str() | Path():
            return change(value if isinstance(value, str) else str(value))
        case list() | tuple():
            return [_each(item, change) for item in value]
        case dict():
            return {key: _each(item, change) for key, item in value.items()}
    return value

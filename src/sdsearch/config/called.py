"""What a spec can run that is not this package's own: components from elsewhere, and what they are told to call."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from sdsearch.config.component import Component

OURS = "sdsearch."


def called(spec: object) -> list[str]:
    """Return the dotted paths of code outside of this package that a spec names, each once, in its order."""
    paths = [path for part in parts(spec) for path in (*_own(part), *part.calls)]
    return list(dict.fromkeys(paths))


def parts(value: object) -> Iterator[Component]:
    """Return every component in a spec, however deep."""
    if isinstance(value, Component):
        yield value
    inner: object = ()
    if isinstance(value, BaseModel):
        inner = dict(value).values()
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    for part in inner:  # type: ignore[attr-defined]
        yield from parts(part)


def _own(part: Component) -> list[str]:
    kind = type(part)
    return [] if kind.__module__.startswith(OURS) else [f"{kind.__module__}:{kind.__qualname__}"]

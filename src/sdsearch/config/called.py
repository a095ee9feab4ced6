"""What a spec can run that is not this package's own: components from elsewhere, and what they are told to call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from sdsearch.config.component import Component

OURS = "sdsearch."


def called(spec: object) -> list[str]:
    """Return the dotted paths of code outside of this package that a spec names, each once, in its order."""
    paths = [path for _, part in parts(spec) for path in (*_own(part), *part.calls)]
    return list(dict.fromkeys(paths))


def sent(spec: object) -> list[str]:
    """Return which keys a spec sends where, each once: "OPENAI_API_KEY to api.openai.com"."""
    pairs = [pair for _, part in parts(spec) for pair in part.sends]
    return [f"{variable} to {host}" for variable, host in dict.fromkeys(pairs)]


def parts(value: object, where: str = "") -> Iterator[tuple[str, Component]]:
    """Yield every component in a spec, however deep, and where it stands: "objective.terms.1.hint"."""
    if isinstance(value, Component):
        yield where, value
    inner: Iterable[tuple[object, object]] = ()
    if isinstance(value, BaseModel):
        # Not `dict(value)`: a setting may be called `keys`.
        inner = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for key, part in inner:
        yield from parts(part, f"{where}.{key}".lstrip("."))


def _own(part: Component) -> list[str]:
    kind = type(part)
    return [] if kind.__module__.startswith(OURS) else [f"{kind.__module__}:{kind.__qualname__}"]

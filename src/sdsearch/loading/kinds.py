"""What a spec can be about: its key `kind` names the model that reads it; without one it is an experiment.

A kind could be guessed from a spec's keys, but then one misspelt key would turn every message into nonsense.
"""

from __future__ import annotations

from importlib import import_module

from pydantic import BaseModel

from sdsearch.components.component import Settings
from sdsearch.components.discovery import quoted, suggest
from sdsearch.errors import SpecError

KINDS = {
    "experiment": "sdsearch.spec:Experiment",
    "study": "sdsearch.study.spec:Study",
    "warmstart": "sdsearch.cloning.warmstart:WarmStart",
}
"""Where the model of each kind is: a subclass of `Settings`, imported only when it is asked for."""

DEFAULT = "experiment"


def model_of(kind: object) -> type[Settings]:
    """Return the model that reads a kind of spec. Raises `SpecError` when there is none of that name."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpecError(f"unknown kind {quoted(kind)}, expected one of {', '.join(KINDS)}{suggest(kind, KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    found: type[Settings] = getattr(import_module(module), name)
    return found


def kind_of(model: type[BaseModel]) -> str | None:
    """Return the kind that a model reads; None for a model that is none of ours."""
    place = f"{model.__module__}:{model.__qualname__}"
    return next((kind for kind, where in KINDS.items() if where == place), None)

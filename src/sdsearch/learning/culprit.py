"""Whose fault an error is: the component in whose code it arose, and where a spec names it.

A run calls what others have written: rewards, credits, retrievers. When one of them fails, the person in front of it
needs its name and its line, and not the stack of a framework.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from sdsearch.config.called import parts
from sdsearch.config.component import Component, Settings
from sdsearch.config.document import Node
from sdsearch.config.load import read
from sdsearch.errors import ComponentError
from sdsearch.spec import Experiment

OURS = "sdsearch."
CONTRACTS = ("sdsearch.contracts.", "sdsearch.config.")


class Culprit(NamedTuple):
    """A component of a spec that is at fault."""

    component: Component
    where: str
    """Its path in the spec, such as "environment.reward"."""
    code: str
    """File and line where the error arose; "" where it did what its contract forbids."""

    def named(self, spec: Path) -> str:
        """Return its path and type, and the line at which the spec of a run names it."""
        node: Node | None = read(spec, []) if spec.is_file() else None
        for key in self.where.split("."):
            inner = node.value if node else None
            node = inner[int(key)] if isinstance(inner, list) else inner.get(key) if isinstance(inner, dict) else None
        line = f", {node.place.source}:{node.place.line}" if node else ""
        return f"`{self.where}` ({self.component.type}{line})"


def culprit(error: BaseException, experiment: Experiment) -> Culprit | None:
    """Return the component that an error is the fault of; None where it is none of them, or nobody can tell.

    It is that in whose module the error arose, or in that of a library that was called from there. What arose in a
    module of ours that is no component's is nobody else's fault.
    """
    known = [(part, where) for where, part in parts(experiment)]
    if isinstance(error, ComponentError) and error.component is not None:
        named = next((pair for pair in known if pair[0] is error.component or pair[0] == error.component), None)
        return Culprit(*named, "") if named else None
    for frame, line in _inside_out(error):
        module = str(frame.f_globals.get("__name__"))
        if here := [pair for pair in known if module in _modules(pair[0])]:
            # A module may hold several, and what one of them has opened: it mostly keeps its settings.
            me = frame.f_locals.get("self")
            mine = [me, *(vars(me).values() if hasattr(me, "__dict__") else ())]
            part, where = next((pair for pair in here if any(pair[0] is each for each in mine)), here[0])
            return Culprit(part, where, f"{frame.f_code.co_filename}:{line}")
        if module.startswith(OURS):
            return None
    return None


def _modules(part: Component) -> set[str]:
    """Return where the code of a component is: its own, and what it derives from, but not its contract."""
    names = {kind.__module__ for kind in type(part).__mro__ if issubclass(kind, Settings)}
    return {name for name in names if not name.startswith(CONTRACTS)}


def _inside_out(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    frames, trace = list[tuple[FrameType, int]](), error.__traceback__
    while trace:
        frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return reversed(frames)

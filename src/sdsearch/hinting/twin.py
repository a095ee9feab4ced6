"""The control that a spec names for a hint: alike in all but one thing, so that a difference is due to that thing."""

from __future__ import annotations

from sdsearch.config.component import resolve
from sdsearch.config.words import quoted, suggest
from sdsearch.contracts.hint import Hint

QUESTION = "question"
"""The twin that every hint has: that of another question, as `placebo` deals it out."""


def twin(hint: Hint, name: str) -> Hint:
    """Return a twin of a hint: one of its own (`Hint.twins`), or "question", the hint of another question.

    Raises `ValueError` for a name of none, and for a twin that is the hint itself, from which nothing differs.
    """
    placebo = resolve(Hint, "placebo")
    known = dict(hint.twins())
    if not isinstance(hint, placebo):
        known.setdefault(QUESTION, placebo.model_validate({"hint": hint}))
    if name not in known:
        names = ", ".join(known) or "none"
        raise ValueError(
            f"got {quoted(name)}, expected a twin that the hint {hint.type} has as it is set, which are: {names}"
            f"{suggest(name, known)}"
        )
    if known[name] == hint:
        raise ValueError(f"the twin {quoted(name)} of the hint {hint.type} is the hint itself: nothing would differ")
    return known[name]

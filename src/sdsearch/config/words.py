"""How messages show values and suggest words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

LONGEST_NAME = 200
"""Characters of a name that are compared: of a `type`, a key, a file."""


def quoted(value: object) -> str:
    """Return a value as an error message shows it: on one line and not too long."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str():
            shown = json.dumps(value[:60], ensure_ascii=False)
            shown = shown if len(value) <= 60 else f"{shown}..."
        case bool() | int() | float():
            shown = json.dumps(value)
        case _:
            shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def suggest(word: object, words: Iterable[str]) -> str:
    """Return a did-you-mean clause, or nothing when no word is near."""
    near = difflib.get_close_matches(str(word)[:LONGEST_NAME], list(words), n=1)
    return f"; did you mean {quoted(near[0])}?" if near else ""

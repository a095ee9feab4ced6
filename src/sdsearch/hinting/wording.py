"""Templates for what a teacher is told, and how text that a policy wrote is put into one.

A spec can change every word of a hint; a misspelt name in braces is found when it is loaded.
"""

from __future__ import annotations

from string import Formatter

from pydantic import AfterValidator

from sdsearch.core.safe_text import plain


def wording(*names: str) -> AfterValidator:
    """Return a check that a text holds some of `names` in braces, such as {answer}, and no other name."""

    def check(text: str) -> str:
        try:
            found = fields(text)
        except ValueError as error:
            raise ValueError(f"got {text!r}: {error}; write a brace that is meant as one twice") from error
        if not found or not found <= set(names):
            expected = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"got {text!r}, expected a text that holds {expected} and no other name in braces")
        return text

    return AfterValidator(check)


def fields(text: str) -> set[str]:
    """Return the names in braces of a template. Raises `ValueError` for braces that do not fit."""
    return {name for _, name, *_ in Formatter().parse(text) if name is not None}


def one_line(text: str) -> str:
    """Put text on one line and take out the brackets of which tags are made."""
    return plain(text.replace("<", " ").replace(">", " "))

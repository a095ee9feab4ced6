"""How an arm is drawn: by its place in the study, so that it looks the same in every picture."""

from __future__ import annotations

from typing import NamedTuple

from sdsearch.study.spec import Study

STYLES = ("-", "--", ":", "-.")
"""There are ten colours; the next ten arms have another line."""


class Look(NamedTuple):
    """Colour and line, as matplotlib names them."""

    colour: str
    line: str


def look(study: Study, arm: str) -> Look:
    """Return how an arm of a study is drawn."""
    place = list(study.arms).index(arm)
    return Look(f"C{place % 10}", STYLES[place // 10 % len(STYLES)])

"""Names in any script in pictures: fonts of the machine stand in for the letters that matplotlib's own font lacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

OTHERS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)
"""Fonts with letters of other scripts, in the order in which they are asked; those that are there."""


@contextmanager
def any_script() -> Iterator[None]:
    """Draw with such fonts. Where none has a letter a box stands for it: a picture is no reason to end a run."""
    from matplotlib import font_manager, rc_context

    there = {font.name for font in font_manager.fontManager.ttflist}
    with rc_context({"font.family": ["DejaVu Sans", *(n for n in OTHERS if n in there)]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        yield

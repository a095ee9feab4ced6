"""What counts as a number where somebody's component is asked for one."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from numbers import Real
from typing import Any

LARGEST = 3.4e38
"""Of a number that is learned from: weights and losses are float32, which knows none beyond."""


def number(value: Any) -> float | None:
    """Return `value` as a float: one number of any library, finite and at most `LARGEST`; None for anything else.

    Of an array or a tensor its only element counts. A text is no number, whatever it says, and nothing is none.
    """
    item = getattr(value, "item", None)
    try:
        value = item() if callable(item) else value
        found = float(value) if isinstance(value, Real | Decimal) else None
    except (ArithmeticError, TypeError, ValueError, RuntimeError):  # many elements, or far too large
        return None
    return found if found is not None and isfinite(found) and abs(found) <= LARGEST else None


def shown(value: Any) -> str:
    """Return the beginning of what a value looks like, also where it cannot say so: such as 10 ** 5000."""
    try:
        return repr(value)[:80]
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"

"""The accepted answers of a record, however people have written them down."""

from __future__ import annotations

import json
import math
import re
from ast import literal_eval
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

SPLIT = "<|answer_split|>"
"""What DeepResearcher and IGPO put between the answers of a record."""
TEXT = r"""(?:"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')"""
WORDS: dict[str, Any] = {
    **dict.fromkeys(("None", "null"), None),
    **dict.fromkeys(("nan", "NaN"), math.nan),
    **{"inf": math.inf, "True": True, "False": False},
}
"""What may stand in a list beside texts, and is no literal or reads otherwise in JSON."""
ITEM = rf"{TEXT}|\b(?:{'|'.join(WORDS)})\b|-?\d[\d.]*+"
ITEMS = re.compile(rf"(?:array\()?[\[(](?:[\s,\[\]()]++|array\(|dtype=object\)|{ITEM})*+(?<=[\])])")
"""A list or tuple as Python or numpy prints it, perhaps with lists in it; numpy leaves the commas out."""
NUMBERS = re.compile(r"\[\s*-?\d[\d.eE+-]*(?:\s*,\s*-?\d[\d.eE+-]*)*\s*\]")


class Answers(NamedTuple):
    """Different texts that are not blank, and what had to be done for them or is wrong with what was left out."""

    texts: tuple[str, ...]
    repaired: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def answers(value: Any, numbers_are_lists: bool = False) -> Answers:
    """Return the answers that a value stands for: a text, a number, a list, or a text that holds a list.

    A list of quoted texts in a text is a list. "[1, 2]" may be an interval: it is one only if `numbers_are_lists`.
    """
    texts, repaired, faults = dict[str, None](), dict[str, None](), dict[str, None]()
    for found in (each for single in _singles(value) for each in _read(single, numbers_are_lists)):
        if found.repaired:
            repaired[found.repaired] = None
        if found.fault:
            faults[found.fault] = None
        elif found.text:
            texts[found.text] = None
    if texts and faults:
        repaired[f"left out of several answers: {', '.join(faults)}"] = None
    return Answers(tuple(texts), tuple(repaired), tuple(faults))


class _Found(NamedTuple):
    text: str = ""
    repaired: str = ""
    fault: str = ""


def _singles(value: Any) -> Iterator[Any]:
    """Yield what is in a list, and in lists in it; without recursion, as they may be nested deeply."""
    ahead = [value]
    while ahead:
        each = ahead.pop()
        if isinstance(each, list | tuple):
            ahead += reversed(each)
        else:
            yield each


def _read(value: Any, numbers_are_lists: bool) -> Iterator[_Found]:
    match value:
        case None:
            yield _Found(fault="answer null")
        case bool():
            yield _Found("yes" if value else "no", "true and false are yes and no")
        case float() if not math.isfinite(value):
            yield _Found(fault="answer NaN" if math.isnan(value) else "answer infinite")
        case float():
            yield _Found(str(int(value)) if value.is_integer() else str(value))
        case int() | Decimal():
            yield _Found(str(value))
        case datetime() | date():
            yield _Found(value.isoformat())
        case str():
            yield from _parts(value, numbers_are_lists)
        case _:
            yield _Found(fault=f"answer of the kind {type(value).__name__}")


def _parts(text: str, numbers_are_lists: bool) -> Iterator[_Found]:
    text = text.strip()
    if SPLIT in text:
        yield _Found(repaired=f"answers parted at {SPLIT}")
        for part in text.split(SPLIT):
            yield from _parts(part, numbers_are_lists)
    elif (inner := listed(text)) is not None:
        yield _Found(repaired="a list in a text")
        for part in inner:
            yield from _read(part if isinstance(part, str | int | float | None) else str(part), False)
        if not inner:
            yield _Found(fault="answer empty")
    elif NUMBERS.fullmatch(text):
        if numbers_are_lists:
            yield _Found(repaired="a list in a text")
            yield from (_Found(number.strip()) for number in text[1:-1].split(","))
        else:
            yield _Found(text, "a list of numbers in a text stays a text")
    else:
        plain = unquoted(text)
        yield (
            _Found(plain, "" if plain == text else "an answer quoted as in CSV")
            if plain
            else _Found(fault="answer empty")
        )


def listed(text: str) -> list[Any] | None:
    """Return the list that a text holds, in JSON or as Python or numpy prints it, if there is a text in it, or nothing.

    None: the text is no such list. `['a' 'b']`, which Python would read as one text, is two.
    """
    if text[:1] not in ("[", "(", "a") or len(text) < 2:
        return None
    if text[0] == "[":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            items = list(_singles(value))
            return items if not value or any(isinstance(item, str) for item in items) else None
    if not ITEMS.fullmatch(text) or not re.search(TEXT, text) or (text[0] == "(" and "," not in text):
        return None
    try:
        return [WORDS[item] if item in WORDS else literal_eval(item) for item in re.findall(ITEM, text)]
    except (ValueError, SyntaxError):
        return None


def lists_of_numbers(values: Sequence[Any]) -> bool:
    """Say whether "[1, 2]" is a list among these values of a column: more of its texts are lists than are not."""
    texts = [
        value for value in values if isinstance(value, str) and value.strip() and not NUMBERS.fullmatch(value.strip())
    ]
    lists = sum(listed(text.strip()) is not None for text in texts)
    return lists > len(texts) - lists


def unquoted(text: str) -> str:
    """Undo the quoting of a CSV field: `"a ""b"" c"` is `a "b" c`; any other text stays as it is."""
    inner = text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"').strip()
    return text

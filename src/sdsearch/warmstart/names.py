"""Made-up names and values in the place of real ones, so that a model learns to copy what it reads, not to know it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase

from sdsearch.core.trajectory import Group

VALUE = re.compile(r"(?<![\w.])(\d[\d.]*\d|[A-Z]{2,5}|\.[a-z]{2}|\+\d+)(?!\w)")
"""Numbers of two digits and more (one digit numbers a passage), codes ("LHR"), internet domains, calling codes."""


class Names:
    """Coins names: every word of an old one becomes the head of one known word and the tail of another."""

    def __init__(self, groups: Sequence[Group]) -> None:
        """Learn the words of all names. Words in many of them ("Airport") are part of the language and stay."""
        names = {n for g in groups for n in self.of(g)}
        count = Counter(w for n in names for w in set(re.findall(r"[^\W\d_]+", n)))
        self.kept = {w for w, c in count.items() if c > max(2, len(names) / 100)}
        self.words = sorted(w for w in count if w not in self.kept and len(w) > 2)

    @staticmethod
    def of(group: Group) -> set[str]:
        """Return the names in a group: what its question asks about and finds, and the titles that it was shown."""
        text = "".join(s.text for t in group.trajectories for s in t.segments)
        names = {n for h in group.question.hops for n in (h.entity, h.answer)}
        names |= set(re.findall(r"\(Title: (.*?)\) ", text))
        return {n for n in names if re.search(r"[^\W\d_]{3}", n) and not n[0].isdigit()}

    def mapping(self, group: Group, dice: random.Random) -> dict[str, str]:
        """Return a new name for each name in a group."""

        def coin(word: re.Match[str]) -> str:
            if word[0] in self.kept or not self.words:
                return str(word[0])
            head, tail = dice.choice(self.words), dice.choice(self.words)
            return str((head[: dice.randint(2, 5)] + tail[-dice.randint(2, 4) :]).capitalize())

        return {n: re.sub(r"[^\W\d_]+", coin, n) for n in sorted(self.of(group))}


def values(group: Group, dice: random.Random) -> dict[str, str]:
    """Return a new value for each number and code in a group: digits for digits, letters for letters."""

    def coin(sign: re.Match[str]) -> str:
        if sign[0].isdigit():
            return str(dice.randint(0 if sign.start() else 1, 9))
        return dice.choice(ascii_uppercase if sign[0].isupper() else ascii_lowercase)

    text = "".join(s.text for t in group.trajectories for s in t.segments)
    codes = sorted(set(VALUE.findall(text)) - {"IATA", "ICAO"})
    return {value: re.sub("[0-9A-Za-z]", coin, value) for value in codes}


def replaced(text: str, names: Mapping[str, str]) -> str:
    """Put new names in the place of old ones, the longest first."""
    if not names:
        return text
    old = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<!\w)({old})(?!\w)", lambda match: names[match[0]], text)

"""Disarm tags in text that is not ours, however they are disguised.

A passage must not be able to close its block, forge a turn or give an answer. A grammar reads exact tags only, but a
model is also fooled by what merely looks like one: so the search here is lenient. All of it takes linear time.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

OPEN = "(?:[<\u02c2\u1438\u2039\u2329\u276c\u276e\u2770\u27e8\u29fc\u3008\ufe64\uff1c]|&lt;)"
CLOSE = "(?:[>\u02c3\u1433\u203a\u232a\u276d\u276f\u2771\u27e9\u29fd\u3009\ufe65\uff1e]|&gt;)"
SLASH = "/\\\\\u2044\u2215\u29f8\ufe68\uff0f\uff3c"
BAR = "[|\u01c0\u2223\uff5c]"
# What takes up no room: Unicode's Default_Ignorable_Code_Point, and the combining marks, which a reader overlooks.
IGNORED = (
    "\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Where Unicode keeps styled Latin letters: raised, lowered, circled, full-width, mathematical and the like.
STYLED = (
    (0xAA, 0xBB), (0x17F, 0x180), (0x2B0, 0x2E4), (0x1D2C, 0x1DBC), (0x2071, 0x209D), (0x2100, 0x2180),
    (0x24B6, 0x24EA), (0x2C7C, 0x2C7E), (0xA7F2, 0xA7F5), (0xFF21, 0xFF5B), (0x1D400, 0x1D6A6), (0x1F12B, 0x1F14A),
    (0xC0, 0x250), (0x1E00, 0x1F00),  # accents, which some tokenisers take off
)  # fmt: skip
# What the prompts of fine-tuned models are built of, beside tokens: headings, and the brackets of Llama 2 and Mistral.
HEADING = re.compile(
    r"#++\s*+(?=(?:response|instruction|input|output|human|assistant|user|system|question|answer|context)\s*:)",
    re.IGNORECASE,
)
BRACKETS = re.compile(
    r"\[(\s*/?\s*(?:INST|SYS\w*|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\s*)\]|<<(\s*/?\s*SYS\s*)>>", re.IGNORECASE
)
# All control characters but those that are white space; what turns the direction of writing round, so that a reader
# sees another order than a program does; and lone surrogates, which no encoding can write.
HIDDEN = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
CONTROL = re.compile(f"[{HIDDEN}]")
BLANK = re.compile(rf"[\s{HIDDEN}{IGNORED}]*+")


def plain(text: str) -> str:
    """Put text on one line: control characters are removed and each run of white space becomes one space."""
    return " ".join(CONTROL.sub("", text).split())


def neutralise(text: str, names: tuple[str, ...]) -> str:
    """Put what looks like a tag of one of `names` into square brackets: `</search>` becomes `[/search]`.

    So does `<|`, with which chat templates write the tokens that separate turns. What other prompts are built of loses
    its marks: `### Response:` becomes `Response:`, `[INST]` becomes `(INST)`.
    """
    safe = _bare(text, names)
    # A tokeniser may write text in plain characters first, and some stand for several, such as U+33B1 for ns.
    plainly = unicodedata.normalize("NFKC", safe)
    again = _bare(plainly, names)
    return safe if again == plainly else again


def _bare(text: str, names: tuple[str, ...]) -> str:
    unmarked = BRACKETS.sub(lambda match: f"({(match[1] or match[2]).strip()})", HEADING.sub("", text))
    return pattern(names).sub(disarm, unmarked)


def disarm(match: re.Match[str]) -> str:
    """Write a match of `pattern` so that nothing takes it for a tag."""
    name = next(n for n, part in match.groupdict().items() if part and n not in ("slash", "close"))
    slash = "/" if match["slash"] else ""
    return f"[{slash}{'|' if name == 'bar' else name}{']' if match['close'] else ''}"


@lru_cache
def pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Match `<name`, `</name` and `<|`, and the closing bracket if it follows at once.

    Letter case, styled letters, look-alike brackets, white space and invisible characters inside do not hide a tag. All
    repeats are possessive, so that no input is read twice.
    """
    styles = styled()
    words = "|".join(
        f"(?P<{name}>{f'[{IGNORED}]*+'.join(f'[{styles.get(letter, letter)}]' for letter in name)})" for name in names
    )
    return re.compile(
        rf"{OPEN}[\s{IGNORED}]*+(?P<slash>[{SLASH}][\s{SLASH}{IGNORED}]*+)?+"
        rf"(?:{words}|(?P<bar>{BAR}))(?P<close>[\s{IGNORED}]*+{CLOSE})?+"
    )


@lru_cache
def styled() -> dict[str, str]:
    """Return, for each letter, all the characters that are that letter in another case or style."""
    alphabet = {letter: letter + letter.upper() for letter in "abcdefghijklmnopqrstuvwxyz"}
    for start, end in STYLED:
        for character in map(chr, range(start, end)):
            base = unicodedata.normalize("NFKD", character)
            letter = "".join(c for c in base if not unicodedata.combining(c)).casefold()
            if letter in alphabet:
                alphabet[letter] += character
    return alphabet

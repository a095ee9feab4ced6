"""Control tokens, such as those that separate turns: where to cut a text so that it never becomes one.

The option of tokenisers that splits special tokens splits only what is marked as special, and many a tokeniser does not
mark all that its model takes as a command.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = re.compile(r"\s+|</?\w+>")


def controls(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the control tokens: those that are special, and added ones that are neither blank nor a bare tag.

    A bare tag such as `<search>` may be the protocol's own, which disarms it in what it quotes.
    """
    special = set(tokenizer.all_special_ids)
    return {
        i: text
        for i, token in tokenizer.added_tokens_decoder.items()
        if (text := str(token.content)) and (i in special or token.special or not PLAIN.fullmatch(text))
    }


def seams(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Match the place after the first character of whatever spells a control token: cut there, it is plain text.

    One character cannot be cut. Grouped by first character, so that thousands of tokens cost nothing elsewhere.
    """
    rests: dict[str, list[str]] = {}
    for text in controls(tokenizer).values():
        if len(text) > 1:
            rests.setdefault(text[0], []).append(re.escape(text[1:]))
    return re.compile("|".join(f"(?<={re.escape(c)})(?={'|'.join(r)})" for c, r in rests.items()) or "(?!)")

"""Control tokens, such as those that separate turns: which tokens no text may become.

The option of tokenisers that splits special tokens splits only what is marked as special, and many a tokeniser does not
mark all that its model takes as a command. What a text becomes is also a matter of the tokeniser's normaliser, which
may make `</s>` of full-width characters or of capitals: so it is not the text that is looked at, but its tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from sdsearch.contracts.environment import TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLANK = re.compile(r"\s+")


def controls(tokenizer: PreTrainedTokenizerBase, tags: Collection[str] = TAGS) -> dict[int, str]:
    """Return the tokens that no text may become.

    They are those that are special, and added ones that are neither blank nor one of a protocol's `tags`. Not the one
    for what is unknown: it commands nothing, and any text may hold what a tokeniser does not know.
    """
    special = set(tokenizer.all_special_ids)
    return {
        i: text
        for i, token in tokenizer.added_tokens_decoder.items()
        if (text := str(token.content)) and i != tokenizer.unk_token_id
        if i in special or token.special or not (BLANK.fullmatch(text) or text in tags)
    }


def markers(tokenizer: PreTrainedTokenizerBase, tags: Collection[str] = TAGS) -> dict[int, str]:
    """Return the tokens that are a protocol's tag: only exactly that text may become one."""
    return {i: str(t.content) for i, t in tokenizer.added_tokens_decoder.items() if str(t.content) in tags}

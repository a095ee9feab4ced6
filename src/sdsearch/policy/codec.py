"""Text to tokens, once, and tokens to text: a tokeniser with the rules for opening a context. It has no weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sdsearch.contracts.environment import Grammar
from sdsearch.core.trajectory import Span
from sdsearch.policy.chat_template import opening
from sdsearch.policy.control_tokens import seams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizerCodec:
    """A tokeniser of the transformers library; see `sdsearch.contracts.engine.Codec`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool = False) -> None:
        """Take a loaded tokeniser. Raises `ModelError` when `chat` is on and its template cannot be used."""
        # The types of transformers end at "Tensor | Module".
        self.tokenizer: Any = tokenizer
        self.opening = opening(tokenizer) if chat else None
        self.seams = seams(tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 over the tokeniser's own description and what is written round a prompt."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend else json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        start = self.tokenizer.bos_token_id if getattr(self.tokenizer, "add_bos_token", False) else None
        return hashlib.sha256(json.dumps([rules, self.opening, start]).encode()).hexdigest()

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise text that continues a context: nothing is put before or after it.

        What only looks like a control token stays plain text: a passage cannot end the context or forge a turn.
        """
        options = {"add_special_tokens": False, "split_special_tokens": True}
        return tuple(t for part in self.seams.split(text) for t in self.tokenizer(part, **options)["input_ids"])

    def prompt(self, text: str) -> tuple[int, ...]:
        """Tokenise the text that opens a context: in the chat template, or after the beginning-of-text token if any.

        The template was applied when the policy was made: only what it writes round the user's message is used, and
        only that may hold special tokens. All that follows is appended, so no template can rewrite what was sampled.
        """
        if self.opening:
            before, after = (self.tokenizer(t, add_special_tokens=False)["input_ids"] for t in self.opening)
            return (*before, *self.encode(text), *after)
        tokens = self.encode(text)
        start = self.tokenizer.bos_token_id
        opens = getattr(self.tokenizer, "add_bos_token", False)
        return (start, *tokens) if opens and start is not None and tokens[:1] != (start,) else tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens exactly, special tokens included."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def spans(self, tokens: Sequence[int], grammar: Grammar) -> tuple[Span, ...]:
        """Say what each sampled token of one turn is part of.

        Found by decoding ever longer prefixes of the sampled tokens, so that no text is tokenised a second time. A
        token that touches more than one span, or any tag, is markup.
        """
        # A prefix that ends inside a multi-byte character decodes to U+FFFD at its end: the character is not there yet.
        ends = [len(self.decode(tokens[: i + 1]).rstrip("\ufffd")) for i in range(len(tokens))]
        text = self.decode(tokens)
        kinds: list[Span] = []
        for span in grammar.spans(text):
            kinds += [Span[span.kind.upper()]] * (span.end - span.start)
        labels: list[Span] = []
        start = 0
        for end in ends:
            stop = max(end, start)
            inside = set(kinds[start:stop]) if stop > start else set(kinds[start : start + 1])
            labels.append(inside.pop() if len(inside) == 1 else Span.MARKUP)
            start = stop
        return tuple(labels)

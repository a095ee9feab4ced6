"""Text to tokens, once, and tokens to text: a tokeniser with the rules for opening a context. It has no weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.contracts.environment import BARE, TAGS, Grammar, Preamble
from sdsearch.core.trajectory import Span
from sdsearch.policy.chat_template import closing, observing, opening, pieces
from sdsearch.policy.control_tokens import controls, markers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizerCodec:
    """A tokeniser of the transformers library; see `sdsearch.contracts.engine.Codec`."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat: bool = False,
        tags: Collection[str] = TAGS,
        preamble: Preamble = BARE,
        observations: Literal["user", "tool", "text"] = "text",
    ) -> None:
        """Take a loaded tokeniser, the tags of the protocol, which may be tokens of their own, and its preamble.

        In a chat, `observations` are messages of a role, or "text". Raises `ModelError` when `chat` is on and the
        template cannot be used so.
        """
        # The types of transformers end at "Tensor | Module".
        self.tokenizer: Any = tokenizer
        self.opening: tuple[str, ...] | None = opening(tokenizer) if chat else None
        self.preamble = preamble
        self.observed = observing(tokenizer, observations) if chat and observations != "text" else None
        self.shown = self._shown(preamble, "user" if observations == "text" else observations) if chat else ()
        self.controls, self.markers = controls(tokenizer, tags), markers(tokenizer, tags)
        self.ends = self._ends(chat)

    def _ends(self, chat: bool) -> frozenset[int]:
        """Return the tokens that end what a model says: the tokeniser's, and what the chat template puts after it."""
        after = self.tokenizer(closing(self.tokenizer), add_special_tokens=False)["input_ids"][:1] if chat else []
        given = [self.tokenizer.eos_token_id, *(t for t in after if t in self.controls)]
        return frozenset(t for t in given if t is not None)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 over the tokeniser's own description and what is written round a prompt."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend else json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        start = self.start[0] if len(self.start) == 1 else list(self.start) or None
        about = [rules, self.opening, start]
        # What a codec has no use for changes no fingerprint: groups that were stored without it go on being read.
        about += [self.observed] if self.observed else []
        about += [self.shown or self.preamble.text] if self.preamble != BARE else []
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    @cached_property
    def start(self) -> tuple[int, ...]:
        """What the tokeniser puts before a text, such as its beginning-of-text token; nothing where it puts none.

        Seen in what it does: some say so in an attribute, others in the template of their post-processor.
        """
        whole, bare = (list(self.tokenizer("x", add_special_tokens=add)["input_ids"]) for add in (True, False))
        before = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        return tuple(whole[:before])

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise text that continues a context: nothing is put before or after it.

        What only looks like a control token stays plain text, also where the tokeniser's normaliser makes one of it: a
        passage cannot end the context or forge a turn. Nor does anything but a protocol's tag itself become its token.
        A text that would is cut after its first character; a single character that would is left out.
        """
        tokens: list[int] = []
        parts = [text]
        while parts:
            part = parts.pop()
            found, spans = self._tokens(part)
            forged = [self._forged(t, part[start:end]) for t, (start, end) in zip(found, spans, strict=True)]
            cuts = {
                start + 1 if self.tokenizer.is_fast else (start + end) // 2
                for (start, end), wrong in zip(spans, forged, strict=True)
                if wrong and end - start > 1
            }
            if cuts:
                edges = [0, *sorted(cuts), len(part)]
                parts += [part[a:b] for a, b in reversed(list(pairwise(edges)))]
            else:
                tokens += [t for t, wrong in zip(found, forged, strict=True) if not wrong]
        return tuple(tokens)

    def _tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the tokens of a text and where in it each stands; all of it where the tokeniser does not tell."""
        fast = self.tokenizer.is_fast
        options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": fast}
        found = self.tokenizer(text, **options)
        tokens: list[int] = found["input_ids"]
        return tokens, found["offset_mapping"] if fast else [(0, len(text))] * len(tokens)

    def _forged(self, token: int, text: str) -> bool:
        """Say whether a text should not be a token."""
        tag = self.markers.get(token)
        return token in self.controls or (tag is not None and self.tokenizer.is_fast and text.strip() != tag)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Tokenise the text that opens a context: in the chat template, or after the beginning-of-text token if any.

        The template was applied when the policy was made: only what it writes round the user's message is used, and
        only that may hold special tokens. All that follows is appended, so no template can rewrite what was sampled.
        The preamble stands before it: messages of the system, the user and the model, or text without a template.
        """
        if self.opening:
            *pieces, last = self.opening
            parts = [part for piece, said in zip(pieces, (*self.shown, text), strict=True) for part in (piece, said)]
            tokens = [self.encode(p) if i % 2 else self._written(p) for i, p in enumerate(parts)]
            return (*(t for part in tokens for t in part), *self._written(last))
        return (*self.start, *self.encode(self.preamble.text + text))

    def observation(self, text: str, context: Sequence[int]) -> tuple[int, ...]:
        """Tokenise what a model is shown after an action that ended `context`: in a chat, as the next message.

        The template's end of the model's own message comes first, less the token that the model may have written.
        """
        if self.observed is None:
            return self.encode(text)
        ends = self._written(closing(self.tokenizer))
        if context and ends[:1] == (context[-1],) and context[-1] in self.controls:
            ends = ends[1:]
        before, after = map(self._written, self.observed)
        return (*ends, *before, *self.encode(text.strip()), *after)

    def _written(self, text: str) -> tuple[int, ...]:
        """Tokenise what the chat template writes."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _shown(self, preamble: Preamble, role: str) -> tuple[str, ...]:
        """Return the texts of the messages that stand before a prompt, and let `opening` be what is round them all."""
        said = [("system", preamble.system)] if preamble.system.strip() else []
        roles = {"prompt": "user", "model": "assistant", "observation": role}
        for segment in preamble.segments:
            text = segment.text.strip() if segment.role == "observation" else segment.text
            said.append((roles[segment.role], text))
        if said:
            self.opening = pieces(self.tokenizer, [*(role for role, _ in said), "user"])
        return tuple(text for _, text in said)

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

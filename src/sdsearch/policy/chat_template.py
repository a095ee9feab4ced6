"""A chat template, applied once: what it writes round the user's message, and whether it may be used at all.

An episode only ever appends to its context. A template that would write an earlier turn otherwise later on (drop its
thinking, put messages in another order, tell the time) describes another context than the one that was sampled from:
what was trained could not be served through it. So it is refused, with the place at which it goes astray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sdsearch.config.words import quoted
from sdsearch.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THOUGHT = "I should look it up."
TALK = (
    ("user", "Question: Which city does Orly serve?"),
    ("assistant", f"<think>{THOUGHT}</think>\n<search> Orly city </search>"),
    ("user", "<information>Orly serves Paris.</information>"),
    ("assistant", "<think>Now I know.</think>\n<answer> Paris </answer>"),
)
CLOCK = "strftime_now"
AROUND = 30
REMEDY = (
    "expected one that writes each message once and for good: choose another model or chat template, "
    "or set model.chat: false"
)


class Opening(NamedTuple):
    """What the template writes before and after the user's first message, up to where the model begins."""

    before: str
    after: str


def opening(tokenizer: PreTrainedTokenizerBase) -> Opening:
    """Return what the tokeniser's template writes round a prompt. Raises `ModelError` when it is not append-only."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("model.chat is on and the tokeniser has no chat template: turn it off or choose a chat model")
    if CLOCK in tokenizer.get_chat_template():
        raise ModelError(f"the chat template writes the time ({CLOCK}), which another day is another; {REMEDY}")
    for number, (role, text) in enumerate(TALK, 1):
        before = _written(tokenizer, number - 1, role == "assistant") if number > 1 else ""
        after = _written(tokenizer, number, role == "user")
        if not after.startswith(before):
            what = "drops earlier thinking" if THOUGHT in before and THOUGHT not in after else "is not append-only"
            raise ModelError(
                f"the chat template {what}: message {number} changes what stands before it, "
                f"{_apart(before, after)}; {REMEDY}"
            )
        added = after.removeprefix(before)
        if added.count(text) != 1 or (role == "assistant" and not added.startswith(text)):
            raise ModelError(
                f"the chat template does not write message {number} ({role}) as it is, {_apart(text, added)}; {REMEDY}"
            )
    return Opening(*_written(tokenizer, 1, True).split(TALK[0][1]))


def closing(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the template writes after a message of the model's, once `opening` has accepted it."""
    text = TALK[1][1]
    return _written(tokenizer, 2, False).rpartition(text)[2]


def _written(tokenizer: PreTrainedTokenizerBase, messages: int, ask: bool) -> str:
    """Return the text of the first messages; `ask` adds what stands before the model's next one."""
    from jinja2 import TemplateError

    talk = [{"role": role, "content": text} for role, text in TALK[:messages]]
    try:
        return str(tokenizer.apply_chat_template(talk, add_generation_prompt=ask, tokenize=False))
    except TemplateError as error:
        raise ModelError(
            f"the chat template refuses a conversation of {messages} messages: {error}; {REMEDY}"
        ) from error


def _apart(one: str, other: str) -> str:
    """Show where two texts part."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - AROUND // 2)
    return f"{quoted(one[start : at + AROUND])} becoming {quoted(other[start : at + AROUND])}"

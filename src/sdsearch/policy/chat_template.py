"""A chat template, applied once: what it writes round messages, and whether it may be used at all.

An episode only ever appends to its context. A template that would write an earlier turn otherwise later on (drop its
thinking, put messages in another order, tell the time) describes another context than the one that was sampled from:
what was trained could not be served through it. So it is refused, with the place at which it goes astray.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    ("user", "Which country is it in?"),
    ("assistant", "<search> Paris country </search>"),
    ("user", "<information>Paris is in France.</information>"),
)
CLOCK = "strftime_now"
AROUND = 30
REMEDY = (
    "expected one that writes each message once and for good: choose another model or chat template, "
    "or set model.chat: false"
)
REMEDY_OBSERVED = "set model.observations: text, or choose another model or chat template"


class Opening(NamedTuple):
    """What the template writes before and after a message, up to where the model begins."""

    before: str
    after: str


def opening(tokenizer: PreTrainedTokenizerBase) -> Opening:
    """Return what the tokeniser's template writes round a prompt. Raises `ModelError` when it is not append-only."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("model.chat is on and the tokeniser has no chat template: turn it off or choose a chat model")
    if CLOCK in tokenizer.get_chat_template():
        raise ModelError(f"the chat template writes the time ({CLOCK}), which another day is another; {REMEDY}")
    appended(tokenizer)
    return Opening(*_written(tokenizer, TALK[:1], True).split(TALK[0][1]))


def appended(tokenizer: PreTrainedTokenizerBase, system: bool = False, observed: str = "user") -> None:
    """Raise `ModelError` unless a conversation is written one message after the other and each as it is.

    It begins with a `system` message, if asked for, and what is observed has the role `observed`.
    """
    talk = conversation(system, observed)
    for number in range(2 if system else 1, len(talk) + 1):
        role, text = talk[number - 1]
        before = _written(tokenizer, talk[: number - 1], role == "assistant") if number > 1 + system else ""
        after = _written(tokenizer, talk[:number], role != "assistant")
        if not after.startswith(before):
            what = "drops earlier thinking" if THOUGHT in before and THOUGHT not in after else "is not append-only"
            raise ModelError(
                f"the chat template {what}: message {number} changes what stands before it, "
                f"{_apart(before, after)}; {REMEDY}"
            )
        added = after.removeprefix(before)
        if system and number == 2:
            continue
        if added.count(text) != 1 or (role == "assistant" and not added.startswith(text)):
            raise ModelError(
                f"the chat template does not write message {number} ({role}) as it is, {_apart(text, added)}; {REMEDY}"
            )


def closing(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the template writes after a message of the model's, once `opening` has accepted it."""
    return _written(tokenizer, TALK[:2], False).rpartition(TALK[1][1])[2]


def observing(tokenizer: PreTrainedTokenizerBase, role: str) -> Opening:
    """Return what the template writes round what a model observes, as a message of a role, after the model's own.

    Raises `ModelError` when it is not append-only then, or writes other things round a later one.
    """
    appended(tokenizer, observed=role)
    talk = conversation(False, role)
    found = []
    for number in (3, 7):
        before, after = _written(tokenizer, talk[: number - 1], False), _written(tokenizer, talk[:number], True)
        found.append(Opening(*after.removeprefix(before).split(talk[number - 1][1])))
    one, other = found
    if one != other:
        raise ModelError(
            f"the chat template writes other things round a later message ({role}), "
            f"{_apart(''.join(one), ''.join(other))}; {REMEDY_OBSERVED}"
        )
    return one


def pieces(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> tuple[str, ...]:
    """Return what the template writes before, between and after messages of some roles, up to where the model begins.

    Raises `ModelError` when it does not write them in their order, each once.
    """
    appended(tokenizer, roles[0] == "system", "tool" if "tool" in roles else "user")
    slots = [f"Slot number {i} of them." for i in range(len(roles))]
    rest, found = _written(tokenizer, list(zip(roles, slots, strict=True)), True), []
    for slot in slots:
        if rest.count(slot) != 1:
            raise ModelError(f"the chat template does not write {', '.join(roles)} in their order; {REMEDY}")
        before, rest = rest.split(slot)
        found.append(before)
    return (*found, rest)


def conversation(system: bool, observed: str) -> list[tuple[str, str]]:
    """Return messages as an episode has them: role and text."""
    talk = [(observed if i in (2, 6) else role, text) for i, (role, text) in enumerate(TALK)]
    return [("system", "Answer by searching."), *talk] if system else talk


def _written(tokenizer: PreTrainedTokenizerBase, talk: Sequence[tuple[str, str]], ask: bool) -> str:
    """Return the text of messages; `ask` adds what stands before the model's next one."""
    from jinja2 import TemplateError

    messages = [{"role": role, "content": text} for role, text in talk]
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=ask, tokenize=False))
    except TemplateError as error:
        raise ModelError(
            f"the chat template refuses a conversation of {len(talk)} messages: {error}; {REMEDY}"
        ) from error


def _apart(one: str, other: str) -> str:
    """Show where two texts part."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - AROUND // 2)
    return f"{quoted(one[start : at + AROUND])} becoming {quoted(other[start : at + AROUND])}"

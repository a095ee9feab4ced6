"""Episodes as conversations: segments become messages, and a message becomes a turn in the words of the protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sdsearch.agents.chatting.server import Call, Choice
from sdsearch.contracts.environment import Grammar
from sdsearch.core.trajectory import FinishReason, Segment

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
        },
    }
    for name, field, about in (
        ("search", "query", "Search the passages for a query and read the best ones."),
        ("answer", "answer", "Give the final answer, as short as possible. This ends the episode."),
    )
]
FIELDS = {"search": "query", "answer": "answer"}
"""The argument of each tool."""


def messages(system: str, segments: Sequence[Segment], grammar: Grammar, tools: bool = False) -> list[dict[str, Any]]:
    """Return a conversation: what was shown is the user's, or that of the tool that was called."""
    talk: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    call = ""
    for number, segment in enumerate(segments):
        if segment.role != "model":
            role = (
                {"role": "tool", "tool_call_id": call} if call and segment.role == "observation" else {"role": "user"}
            )
            talk.append({**role, "content": segment.text.strip()})
            continue
        action, call = grammar.parse(segment.text), ""
        if tools and action.kind in FIELDS:
            call = f"call_{number}"
            arguments = json.dumps({FIELDS[action.kind]: action.text}, ensure_ascii=False)
            thought = "".join(segment.text[s.start : s.end] for s in grammar.spans(segment.text) if s.kind == "think")
            called = {"id": call, "type": "function", "function": {"name": action.kind, "arguments": arguments}}
            talk.append({"role": "assistant", "content": thought.strip() or None, "tool_calls": [called]})
            if action.kind == "answer" and number + 1 < len(segments):  # an example: every call has its result
                talk.append({"role": "tool", "tool_call_id": call, "content": "done"})
        else:
            talk.append({"role": "assistant", "content": segment.text})
    return talk


def written(choice: Choice, grammar: Grammar, tools: bool = False) -> tuple[str, FinishReason]:
    """Return the turn that a message stands for, in the words of the protocol, and why it ended.

    Servers cut off the string at which they stop: it is put back where that makes an action of the text. What was
    written after an action is dropped, so that no made-up observation stands in the conversation.
    """
    # JSON can spell half a character, which nothing could write down again.
    text = (choice.message.content or "").encode("utf-8", "replace").decode()
    if tools and choice.message.tool_calls:
        return called(choice.message.tool_calls[0].function, text, grammar), "stop"
    if ends := [(at, stop) for stop in grammar.stop if (at := text.find(stop)) >= 0]:
        at, stop = min(ends)
        return text[: at + len(stop)], "stop"
    if choice.finish_reason == "length":
        return text, "length"
    if grammar.parse(text).kind == "invalid":
        whole = [text + stop for stop in grammar.stop if grammar.parse(text + stop).kind != "invalid"]
        if whole:
            return whole[0], "stop"
    return text, "end"


def called(call: Call, thought: str, grammar: Grammar) -> str:
    """Return a call of a tool in the words of the protocol; one that it cannot say stands there as it was made."""
    try:
        arguments = json.loads(call.arguments) if isinstance(call.arguments, str) else call.arguments
        text = arguments[FIELDS[call.name]]
        if isinstance(text, str):
            return _written(grammar, call.name, text, thought.strip())
    except (ValueError, KeyError, TypeError):
        pass
    return f"{thought}{call.name}({call.arguments})"


def _written(grammar: Grammar, kind: str, text: str, thought: str) -> str:
    try:
        return grammar.write(kind, text, thought)
    except ValueError:  # the thought may hold what an action is made of
        return grammar.write(kind, text)

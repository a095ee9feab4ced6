"""No search at all: what a model answers by what it knows. A control, and the field's lowest baseline."""

from __future__ import annotations

from typing import ClassVar

from sdsearch.envs.protocol.search_r1 import SearchR1, Words


class Direct(SearchR1):
    """`<answer> answer </answer>` and nothing else; a search is an invalid action."""

    words: ClassVar[Words] = Words(actions=("answer",))
    rules: ClassVar[str] = (
        "Answer the question below by what you know. You may think first, inside <think> and </think>. Give the answer "
        "and nothing else by <answer> answer </answer>, for example <answer> Lima </answer>."
    )

    instruct: bool = True
    """Say in the prompt, before all else, how to act."""

"""One search, of the question as it stands, before the first turn: plain retrieval-augmented generation, a baseline."""

from __future__ import annotations

from typing import ClassVar

from sdsearch.envs.protocol.search_r1 import SearchR1, Words


class Rag(SearchR1):
    """What a search for the whole question finds stands before the prompt, and `<answer> answer </answer>` follows.

    The agent cannot search by itself. An outage of the retriever ends the episode with its first action.
    """

    words: ClassVar[Words] = Words(actions=("answer",))
    rules: ClassVar[str] = (
        "Answer the question below by the passages above. You may think first, inside <think> and </think>. Give the "
        "answer and nothing else by <answer> answer </answer>, for example <answer> Lima </answer>."
    )

    instruct: bool = True
    """Say in the prompt, before the question, how to act."""

    @property
    def searches_first(self) -> bool:
        return True

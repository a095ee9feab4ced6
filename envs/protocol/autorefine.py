"""AutoRefine's tags (Shi et al., 2505.11277): think, search, documents, refine, answer."""

from __future__ import annotations

from typing import ClassVar

from sdsearch.envs.protocol.search_r1 import SearchR1, Words


class AutoRefine(SearchR1):
    """Search-R1's grammar, in which what was found stands in `<documents>` and is first put in short in `<refine>`.

    What is refined is a thought: it may be left out, and nothing is paid for it here.
    """

    words: ClassVar[Words] = Words("documents", ("think", "refine"))
    rules: ClassVar[str] = (
        "Answer the question below. Think first, inside <think> and </think>. When you lack a fact, ask for it by "
        "<search> query </search>: what is found is shown to you between <documents> and </documents>. Then write down "
        "what of it matters between <refine> and </refine>. You may search again. When you know, give the answer and "
        "nothing else by <answer> answer </answer>, for example <answer> Lima </answer>."
    )

    instruct: bool = True
    """Say in the prompt, before all else, how to act."""

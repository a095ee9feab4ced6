"""ReAct's lines (Yao et al., 2210.03629): Thought, Action: Search[...] or Finish[...], Observation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from sdsearch.contracts.environment import Action, Grammar, TextSpan
from sdsearch.core.question import Hit, Question
from sdsearch.core.safe_text import BLANK, CONTROL, neutralise, plain
from sdsearch.envs.protocol.search_r1 import CALLS, NAMES

ACTION = re.compile(r"^[ \t]*+Action(?: \d++)?+:[ \t]*+(Search|Finish)\[([^\n]*)\][ \t]*+$", re.MULTILINE)
FORGED = re.compile(r"^\s*+Observation(?: \d++)?+\s*+:", re.MULTILINE | re.IGNORECASE)
KINDS = {"Search": "search", "Finish": "answer"}
VERBS = {kind: verb for verb, kind in KINDS.items()}
RULES = (
    "Answer the question below in steps. Each step is a line `Thought: ...` with what you think, and a line with an "
    "action: `Action: Search[query]` looks a query up and shows you an `Observation`; `Action: Finish[answer]` gives "
    "the answer, as short as possible, and ends it."
)


class ReAct(Grammar):
    """A turn is what stands up to the first line `Action: Search[query]` or `Action: Finish[answer]`.

    The line's end is where generation stops; a last line needs none. Lines are read exactly, and what follows the
    first action is ignored. A turn without such a line is invalid, and so is one that writes an observation before it,
    or asks for nothing.
    """

    instruct: bool = True
    """Say in the prompt, before all else, how to act."""
    instruction: str = ""
    """What the prompt says before the question."""
    max_passage_characters: int = Field(default=2000, ge=1)
    """A longer passage (or title) is cut here and marked as cut."""

    @property
    def stop(self) -> tuple[str, ...]:
        return ("]\n",)

    @property
    def tags(self) -> tuple[str, ...]:
        return ()

    def prompt(self, question: Question) -> str:
        rules = f"{RULES}\n\n" if self.instruct else ""
        return f"{rules}{self.instruction}Question: {disarmed(plain(question.text))}\n"

    def parse(self, text: str) -> Action:
        line = ACTION.search(text)
        if line is None:
            return Action("invalid", "no action")
        if FORGED.search(text, 0, line.start()):
            return Action("invalid", "own observation")
        if BLANK.fullmatch(line[2]):
            return Action("invalid", f"empty {KINDS[line[1]]}")
        return Action(KINDS[line[1]], CONTROL.sub(" ", line[2]).strip())

    def spans(self, text: str) -> list[TextSpan]:
        line, kind = ACTION.search(text), self.parse(text).kind
        if line is None or kind == "invalid":
            return [TextSpan("think", 0, len(text))] if text else []
        what = "query" if kind == "search" else "answer"
        cuts = [("think", 0), ("markup", line.start()), (what, line.start(2)), ("markup", line.end(2))]
        ends = [start for _, start in cuts[1:]] + [line.end()]
        spans = [TextSpan(name, start, end) for (name, start), end in zip(cuts, ends, strict=True)]
        return [span for span in (*spans, TextSpan("think", line.end(), len(text))) if span.end > span.start]

    def render_hits(self, hits: Sequence[Hit]) -> str:
        found = [f"({i}) {self.render(h.passage.title)}: {self.render(h.passage.text)}" for i, h in enumerate(hits, 1)]
        return f"\nObservation: {' '.join(found) or 'No passages found.'}\n"

    def render(self, text: str) -> str:
        """Put text that is not ours on one line, without tags and not longer than allowed."""
        most = self.max_passage_characters
        read = text[: 8 * most]
        safe = disarmed(plain(read))
        return safe if len(safe) <= most and len(read) == len(text) else safe[:most] + " [cut]"

    def render_invalid(self) -> str:
        return "\nObservation: That was not a valid action. Write Action: Search[query] or Action: Finish[answer].\n"

    def write(self, kind: str, text: str, think: str = "") -> str:
        """Return the text of an action. Raises `ValueError` for what `parse` would not read back."""
        thought = f"Thought: {think}\n" if think else ""
        written = thought + (text if kind == "invalid" else f"Action: {VERBS[kind]}[{text}]\n")
        read = self.parse(written)
        if read.kind != kind or (kind != "invalid" and read.text != text.strip()):
            raise ValueError(f"{written!r} reads as {read}, expected {Action(kind, text)}: keep it on one line")
        return written


def disarmed(text: str) -> str:
    """Return text that is not ours without what looks like tags, such as those of chat models."""
    return neutralise(text, NAMES + CALLS)

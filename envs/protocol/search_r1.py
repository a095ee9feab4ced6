"""Search-R1's tags (Jin et al., 2025): think, search, information, answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import Field

from sdsearch.envs.tags import neutralise, plain
from sdsearch.types import Action, Grammar, Hit, Question, TextSpan

NAMES = ("think", "search", "information", "answer")
TAG = re.compile(f"</?({'|'.join(NAMES)})>")
END = re.compile("</(search|answer)>")
FORGED = re.compile(r"<[\s/]*+information\s*+>", re.IGNORECASE)


class SearchR1(Grammar):
    """`<search> query </search>` or `<answer> answer </answer>`; before it, if the model likes, `<think>...</think>`.

    A turn ends at the first end tag of an action, which is where generation stops; what follows is ignored. The turn is
    valid when that action holds plain text, and nothing but plain text and think tags stands before it. So these are
    invalid: no action or one without its end tag, an empty or blank one, one that holds another tag, one that comes
    after another that was left open, and one that comes after an observation which the model wrote itself (in any
    letter case or spacing). Tags are read exactly, as in Search-R1: `<Search>` is plain text. An action counts inside
    `<think>` as well, because generation stops there all the same.
    """

    instruction: str = ""
    """What the prompt says before the question."""
    max_passage_characters: int = Field(default=2000, ge=1)
    """A longer passage (or title) is cut here and marked as cut."""

    @property
    def stop(self) -> tuple[str, ...]:
        return ("</search>", "</answer>")

    def prompt(self, question: Question) -> str:
        return f"{self.instruction}Question: {question.text}\n"

    def parse(self, text: str) -> Action:
        """Return the action. An invalid one has no text."""
        found = action(text)
        return Action(found.kind, text[found.start : found.end].strip()) if found else Action("invalid", "")

    def spans(self, text: str) -> list[TextSpan]:
        """Cut the text: tags are markup, the content of the action is query or answer, all else is think."""
        return [span for span in cut(text) if span.end > span.start]

    def render_hits(self, hits: Sequence[Hit]) -> str:
        lines = [
            f"Doc {i}(Title: {self.render(hit.passage.title)}) {self.render(hit.passage.text)}"
            for i, hit in enumerate(hits, 1)
        ]
        body = "\n".join(lines or ["No passages found."])
        return f"\n\n<information>{body}\n</information>\n\n"

    def render(self, text: str) -> str:
        """Put text that is not ours on one line, without tags and not longer than allowed."""
        safe = neutralise(plain(text), NAMES)
        return safe if len(safe) <= self.max_passage_characters else safe[: self.max_passage_characters] + " [cut]"

    def render_invalid(self) -> str:
        return "\n\nThat was not a valid action. Write <search> query </search> or <answer> answer </answer>.\n\n"

    def write(self, kind: str, text: str, think: str = "") -> str:
        """Return the text of an action; "invalid" is written as the bare text.

        Raises `ValueError` for what `parse` would not read back, such as a query that holds a tag.
        """
        thought = f"<think> {think} </think>\n" if think else ""
        written = thought + (text if kind == "invalid" else f"<{kind}> {text} </{kind}>")
        wanted = Action("invalid", "") if kind == "invalid" else Action(kind, text.strip())
        if self.parse(written) != wanted:
            raise ValueError(f"{written!r} reads as {self.parse(written)}, expected {wanted}: leave tags out of it")
        return written


class Found(NamedTuple):
    """A valid action of `kind` whose content is `text[start:end]`."""

    kind: str
    start: int
    end: int


def action(text: str) -> Found | None:
    """Find the action of a turn; None when the turn is invalid."""
    end = END.search(text)
    if end is None:
        return None
    *before, last = [*TAG.finditer(text, 0, end.start())] or [end]
    if last[0] != f"<{end[1]}>" or any(tag[1] != "think" for tag in before):
        return None
    if not text[last.end() : end.start()].strip() or FORGED.search(text, 0, end.start()):
        return None
    return Found(end[1], last.end(), end.start())


def cut(text: str) -> Iterator[TextSpan]:
    """Cut a turn's text at its tags; some of the spans may be empty."""
    found = action(text)
    done = 0
    for tag in TAG.finditer(text):
        kind = "think"
        if found and found.start == done:
            kind = "query" if found.kind == "search" else "answer"
        yield TextSpan(kind, done, tag.start())
        yield TextSpan("markup", tag.start(), tag.end())
        done = tag.end()
    yield TextSpan("think", done, len(text))

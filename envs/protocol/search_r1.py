"""Search-R1's tags (Jin et al., 2025): think, search, information, answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import ClassVar, NamedTuple

from pydantic import Field

from sdsearch.contracts.environment import TAGS, Action, Grammar, TextSpan
from sdsearch.core.question import Hit, Question
from sdsearch.core.safe_text import BLANK, CONTROL, neutralise, plain

NAMES = ("think", "search", "information", "answer")
# Chat models have tokens of their own for these, which no passage may write.
CALLS = ("tool_call", "tool_response")


class Words(NamedTuple):
    """The tags of a grammar."""

    observation: str = "information"
    thoughts: tuple[str, ...] = ("think",)
    actions: tuple[str, ...] = ("search", "answer")

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*NAMES, *self.thoughts, self.observation)))


class Patterns(NamedTuple):
    """What finds any tag, the end tag of an action, and what looks like an observation."""

    tag: re.Pattern[str]
    end: re.Pattern[str]
    forged: re.Pattern[str]


WORDS = Words()


@cache
def patterns(words: Words) -> Patterns:
    """Return what finds the tags of a grammar."""
    return Patterns(
        re.compile(f"</?({'|'.join(words.names)})>"),
        re.compile(f"</({'|'.join(words.actions)})>"),
        re.compile(rf"<[\s/]*+{words.observation}\s*+>", re.IGNORECASE),
    )


class SearchR1(Grammar):
    """`<search> query </search>` or `<answer> answer </answer>`; before it, if the model likes, `<think>...</think>`.

    A turn ends at the first end tag of an action, which is where generation stops; what follows is ignored. The turn is
    valid when that action holds plain text, and nothing but plain text and think tags stands before it; see `action`
    for what makes it invalid, and docs/grammar.md for every case. Tags are read exactly, as in Search-R1: `<Search>` is
    plain text. An action counts inside `<think>` as well, because generation stops there all the same.
    """

    words: ClassVar[Words] = WORDS
    rules: ClassVar[str] = (
        "Answer the question below. Think first, inside <think> and </think>. When you lack a fact, ask for it by "
        "<search> query </search>: what is found is shown to you between <information> and </information>, and you may "
        "search again. When you know, give the answer and nothing else by <answer> answer </answer>, for example "
        "<answer> Lima </answer>."
    )

    instruct: bool = False
    """Say in the prompt, before all else, how to act: for a model that was not made for this grammar."""
    instruction: str = ""
    """What the prompt says before the question."""
    max_passage_characters: int = Field(default=2000, ge=1, le=1_000_000)
    """A longer passage (or title) is cut here and marked as cut."""

    @property
    def stop(self) -> tuple[str, ...]:
        return tuple(f"</{name}>" for name in self.words.actions)

    @property
    def tags(self) -> tuple[str, ...]:
        own = (f"<{slash}{name}>" for name in self.words.names for slash in ("", "/"))
        return tuple(dict.fromkeys((*TAGS, *own)))

    def prompt(self, question: Question) -> str:
        rules = f"{self.rules}\n\n" if self.instruct else ""
        return f"{rules}{self.instruction}Question: {self.safe(CONTROL.sub('', question.text))}\n"

    def parse(self, text: str) -> Action:
        """Return the action, control characters as spaces; the text of an invalid one says why, see `action`."""
        outcome = action(text, self.words)
        if isinstance(outcome, str):
            return Action("invalid", outcome)
        return Action(outcome.kind, CONTROL.sub(" ", text[outcome.start : outcome.end]).strip())

    def spans(self, text: str) -> list[TextSpan]:
        """Cut the text: tags are markup, the content of the action is query or answer, all else is think."""
        return [span for span in cut(text, self.words) if span.end > span.start]

    def render_hits(self, hits: Sequence[Hit]) -> str:
        lines = [
            f"Doc {i}(Title: {self.render(hit.passage.title)}) {self.render(hit.passage.text)}"
            for i, hit in enumerate(hits, 1)
        ]
        body = "\n".join(lines or ["No passages found."])
        return f"\n\n<{self.words.observation}>{body}\n</{self.words.observation}>\n\n"

    def render(self, text: str) -> str:
        """Put text that is not ours on one line, without tags and not longer than allowed."""
        most = self.max_passage_characters
        # Of a megabyte no more is read than can be needed, unless the passage is mostly what is removed.
        read = text[: 8 * most]
        safe = self.safe(plain(read))
        return safe if len(safe) <= most and len(read) == len(text) else safe[:most] + " [cut]"

    def render_invalid(self) -> str:
        ways = " or ".join(f"<{name}> {WANTED[name]} </{name}>" for name in self.words.actions)
        return f"\n\nThat was not a valid action. Write {ways}.\n\n"

    def safe(self, text: str) -> str:
        """Return text that is not ours without the tags of this grammar and of chat models."""
        return neutralise(text, self.words.names + CALLS)

    def write(self, kind: str, text: str, think: str = "") -> str:
        """Return the text of an action; "invalid" is written as the bare text.

        Raises `ValueError` for what `parse` would not read back, such as a query that holds a tag.
        """
        thought = f"<think> {think} </think>\n" if think else ""
        written = thought + (text if kind == "invalid" else f"<{kind}> {text} </{kind}>")
        read = self.parse(written)
        if read.kind != kind or (kind != "invalid" and read.text != text.strip()):
            raise ValueError(f"{written!r} reads as {read}, expected {Action(kind, text)}: leave tags out of it")
        return written


WANTED = {"search": "query", "answer": "answer"}


class Found(NamedTuple):
    """A valid action of `kind` whose content is `text[start:end]`."""

    kind: str
    start: int
    end: int


def action(text: str, words: Words = WORDS) -> Found | str:
    """Find the action of a turn, or say why the turn is invalid; the first that applies of the following.

    "no action": no end tag of an action; "own observation": up to there stands what looks like an information tag, in
    any letter case or spacing; "stray tag": the nearest tag before the end tag is not its start tag, or a tag other
    than those of thoughts comes earlier; "empty search" or "empty answer": nothing that can be seen between the two.
    """
    tags, ends, forged = patterns(words)
    end = ends.search(text)
    if end is None:
        return "no action"
    if forged.search(text, 0, end.start()):
        return "own observation"
    first = next(tag for tag in tags.finditer(text) if tag[1] not in words.thoughts)
    if first[0] != f"<{end[1]}>" or tags.search(text, first.end(), end.start()):
        return "stray tag"
    if BLANK.fullmatch(text, first.end(), end.start()):
        return f"empty {end[1]}"
    return Found(end[1], first.end(), end.start())


def cut(text: str, words: Words = WORDS) -> Iterator[TextSpan]:
    """Cut a turn's text at its tags; some of the spans may be empty."""
    outcome = action(text, words)
    done = 0
    for tag in patterns(words).tag.finditer(text):
        kind = "think"
        if isinstance(outcome, Found) and outcome.start == done:
            kind = "query" if outcome.kind == "search" else "answer"
        yield TextSpan(kind, done, tag.start())
        yield TextSpan("markup", tag.start(), tag.end())
        done = tag.end()
    yield TextSpan("think", done, len(text))

"""Act by hand: what the agent is shown goes to the terminal, what it does comes from there.

Whoever has played some questions knows what a policy is up against: what the retriever finds, and what it does not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.safe_text import CONTROL
from sdsearch.core.trajectory import Role, Segment

SHORTCUTS = {"s": "search", "a": "answer"}
HELP = "write `s QUERY` to search, `a ANSWER` to answer, or what an agent would write, tags and all"


class Human(Agent):
    """A person at the terminal: `s QUERY` searches, `a ANSWER` answers, a line with a tag is sent as it is."""

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> HumanSession:
        """Return the session, which uses standard input and output."""
        return HumanSession(grammar, Console(highlight=False))


class HumanSession:
    """Asks a person for every action, one episode after the other; see `sdsearch.contracts.agent.AgentSession`."""

    def __init__(self, grammar: Grammar, console: Console) -> None:
        """Take the grammar that shortcuts are written out in, and where to show things."""
        self.grammar, self.console = grammar, console
        self.episodes = 0

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.episodes, self.begun = len(questions), set[int]()

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Ask for an action in each of `rows`. Raises `KeyboardInterrupt` when the input ends."""
        return [self._turn(row, text) for row, text in zip(rows, texts, strict=True)]

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Show what was recorded, then ask for an action in each of `rows`."""
        replies = []
        for row, past in zip(rows, pasts, strict=True):
            for segment in past[:-1]:
                say(self.console, segment.text.strip("\n"))
            self.begun.update([row] if len(past) > 1 else [])
            replies.append(self._turn(row, past[-1].text))
        return replies

    def _turn(self, row: int, text: str) -> Reply:
        role: Role = "observation" if row in self.begun else "prompt"
        self.begun.add(row)
        if self.episodes > 1:
            say(self.console, f"episode {row + 1} of {self.episodes}", "dim")
        say(self.console, text.strip("\n"), "bold" if role == "prompt" else "cyan")
        return Reply(Segment(role, text), Segment("model", self._action()))

    def _action(self) -> str:
        while True:
            line = self._line().strip()
            short = re.fullmatch(r"([sa])\s+(.*)", line, re.IGNORECASE)
            if not short and "<" in line:
                return line
            try:
                if short:
                    return self.grammar.write(SHORTCUTS[short[1].lower()], short[2])
                say(self.console, HELP, "dim")
            except ValueError as error:
                say(self.console, str(error), "red")

    def _line(self) -> str:
        by_hand = sys.stdin.isatty()
        try:
            line = input("> " if by_hand else "")
        except EOFError:
            raise KeyboardInterrupt("the input has ended") from None
        except UnicodeDecodeError as error:
            say(self.console, f"that could not be read ({error}), expected text in {sys.stdin.encoding}", "red")
            return ""
        if not by_hand:
            say(self.console, f"> {line}")
        return line


def say(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: no markup, no control characters, and no line broken where there is no terminal."""
    console.print(Text(CONTROL.sub("", text), style), soft_wrap=not console.is_terminal)

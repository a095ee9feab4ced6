"""Act by the question's own decomposition: with no mistakes an oracle, with mistakes a teacher worth outgrowing.

The oracle proves that every answer can be reached by searching and reading alone. The noisy one supplies the episodes
that the seed policy is cloned from: it knows how to search and answer, but does both badly.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pydantic import Field

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Action, Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Role, Segment
from sdsearch.errors import DataError

Probability = Field(0.0, ge=0, le=1)


class Scripted(Agent):
    """Ask the queries of the decomposition in order, read each answer off the passages, then give the last one."""

    wrong_query: float = Probability
    """How often a query is a bad one: the whole question, the entity alone, or another step's question."""
    recover: float = Field(1.0, ge=0, le=1)
    """How often, when the passage was not found, the step is asked again; otherwise a title from the results is given
    as the answer."""
    reword: float = Probability
    """How often a good query is put in other words ("capital of France" for "France capital")."""
    early_answer: float = Probability
    """How often, at each step after the first, an answer found on the way is given as the final one."""
    misread: float = Probability
    """How often the final answer is a title from the last results."""

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> ScriptedSession:
        """Return the session."""
        return ScriptedSession(self, grammar)


class Script:
    """One episode of the script."""

    def __init__(self, settings: Scripted, question: Question, dice: random.Random) -> None:
        """Start before the first step. Raises `DataError` for a question without decomposition."""
        if not question.hops:
            raise DataError(f"question {question.id} has no decomposition: the scripted agent needs `hops`")
        self.settings, self.question, self.dice = settings, question, dice
        self.begun = False
        self.hop = 0

    def next(self, text: str) -> Action:
        """Return the next action after being shown `text`."""
        if not self.begun:
            self.begun = True
            return self._ask()
        if not self.read(text):
            return self._ask() if self._happens(self.settings.recover) else self._guess(text)
        if self.hop == len(self.question.hops):
            return self._guess(text) if self._happens(self.settings.misread) else self._answer(self.question.answers[0])
        answer = self.question.hops[self.hop - 1].answer
        return self._answer(answer) if self._happens(self.settings.early_answer) else self._ask()

    def read(self, text: str) -> bool:
        """Look for what the current step asked for, say whether it is there (or all is known), and go to the next."""
        if self.hop < len(self.question.hops):
            hop = self.question.hops[self.hop]
            if not any(hop.entity in line and hop.answer in line for line in text.splitlines()):
                return False
            self.hop += 1
        return True

    def _happens(self, probability: float) -> bool:
        return self.dice.random() < probability

    def _ask(self) -> Action:
        hop = self.question.hops[self.hop]
        query = hop.query
        if self._happens(self.settings.wrong_query):
            others = {h.attribute for h in self.question.hops} - {hop.attribute}
            query = self.dice.choice([self.question.text, hop.entity, *(f"{hop.entity} {a}" for a in sorted(others))])
        elif self._happens(self.settings.reword):
            query = f"{hop.attribute} of {hop.entity}"
        return Action("search", query)

    def _answer(self, text: str) -> Action:
        return Action("answer", text)

    def _guess(self, text: str) -> Action:
        titles = re.findall(r"\(Title: (.*?)\)", text)
        return self._answer(self.dice.choice(titles) if titles else "unknown")


class ScriptedSession:
    """Plays the script; see `sdsearch.contracts.agent.AgentSession`. Its segments hold text and no tokens."""

    def __init__(self, settings: Scripted, grammar: Grammar) -> None:
        """Take the settings and the grammar that it writes in."""
        self.settings, self.grammar = settings, grammar

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question. Each row draws from its own stream, whatever the others do."""
        pairs = zip(questions, seeds, strict=True)
        self.scripts = [Script(self.settings, question, random.Random(seed)) for question, seed in pairs]

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`."""
        replies = []
        for row, text in zip(rows, texts, strict=True):
            script = self.scripts[row]
            role: Role = "observation" if script.begun else "prompt"
            kind, words = script.next(text)
            replies.append(Reply(Segment(role, text), Segment("model", self.grammar.write(kind, words))))
        return replies

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Read again what recorded episodes showed, whoever played them, and act once in each."""
        replies = []
        for row, past in zip(rows, pasts, strict=True):
            script = self.scripts[row]
            for segment in past[2:-1:2]:
                script.read(segment.text)
            script.begun = len(past) > 1
            kind, words = script.next(past[-1].text)
            replies.append(Reply(past[-1], Segment("model", self.grammar.write(kind, words))))
        return replies

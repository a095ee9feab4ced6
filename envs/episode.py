"""One episode as a state machine without input or output: actions and hits go in, text comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from sdsearch.contracts.environment import Grammar, Reward
from sdsearch.core.answers import exact_match, f1
from sdsearch.core.number import LARGEST, number, shown
from sdsearch.core.question import Hit, Question
from sdsearch.core.trajectory import Trajectory, Turn
from sdsearch.errors import ComponentError

LONGEST_TITLE = 200
"""Characters of a title that are recorded with a hit."""


class Search(NamedTuple):
    """The episode waits for the hits of `query`: call `observe` or `lose` next."""

    query: str


class Shown(NamedTuple):
    """The episode goes on: the agent is shown `text`."""

    text: str


class Done(NamedTuple):
    """The episode is over."""

    stop_reason: str


class Episode:
    """One question, played until an answer or another end.

    `max_turns` counts actions of every kind, the answer among them: a search that uses up the last turn is recorded but
    not carried out, and the episode ends as `max_turns`. The reward sees the answer action and nothing else.
    """

    def __init__(
        self,
        question: Question,
        grammar: Grammar,
        reward: Reward,
        max_turns: int,
        on_invalid: Literal["retry", "end"] = "retry",
    ) -> None:
        """Begin before the first action. After an invalid action the agent may try again, or the episode ends."""
        self.question, self.grammar, self.scorer = question, grammar, reward
        self.max_turns, self.on_invalid = max_turns, on_invalid
        self.turns: list[Turn] = []
        self.stop_reason: str | None = None
        self.reward = 0.0
        self.outage = ""
        self.given: tuple[str, ...] = ()
        self.shown = self.prompt
        self._query: str | None = None

    @property
    def prompt(self) -> str:
        """The text that opens the episode."""
        return self.grammar.prompt(self.question)

    @property
    def answer(self) -> str | None:
        """The text of the answer action, if there was one."""
        return self.turns[-1].text if self.turns and self.turns[-1].kind == "answer" else None

    @property
    def terminated(self) -> bool:
        """The agent itself ended the episode."""
        return self.stop_reason in ("answered", "invalid")

    @property
    def truncated(self) -> bool:
        """A limit or an outage ended the episode."""
        return self.stop_reason is not None and not self.terminated

    def give(self, hits: Sequence[Hit]) -> None:
        """Show what a search for the question found before the prompt; call it before the first action."""
        self.given = tuple(h.passage.id for h in hits)
        self.shown = f"{self.grammar.render_hits(hits).strip()}\n\n{self.prompt}"

    def miss(self, why: str) -> None:
        """Note that the search for the question failed: nothing is shown of it, and the first action is the last."""
        self.outage = why

    def act(self, text: str) -> Search | Shown | Done:
        """Take what the agent wrote in one turn. Raises `RuntimeError` when it is not the agent's turn."""
        self._check()
        kind, content = self.grammar.parse(text)
        if self.outage:  # no environment can end an episode before its first action
            self.turns.append(Turn(kind, content))
            return self.close("retriever_unavailable")
        if kind == "search" and len(self.turns) + 1 < self.max_turns:
            self._query = content
            return Search(content)
        self.turns.append(Turn(kind, content))
        if kind == "answer":
            return self.close("answered")
        if kind == "invalid" and self.on_invalid == "end":
            return self.close("invalid")
        if len(self.turns) >= self.max_turns:
            return self.close("max_turns")
        self.shown = self.grammar.render_invalid()
        return Shown(self.shown)

    def observe(self, hits: Sequence[Hit]) -> str:
        """Take the hits of the query that `act` returned, best first, and return what the agent is shown."""
        found = [(h.passage.id, _recorded(h.passage.title), float(h.score)) for h in hits]
        ids, titles, scores = zip(*found, strict=True) if found else ((), (), ())
        self.turns.append(Turn("search", self._take(), ids, titles, scores))
        self.shown = self.grammar.render_hits(list(hits))
        return self.shown

    def lose(self, why: str = "") -> Done:
        """End the episode because the query that `act` returned could not be answered; the agent never sees `why`."""
        self.turns.append(Turn("search", self._take()))
        self.outage = why
        return self._end("retriever_unavailable", 0.0)

    def close(self, stop_reason: str) -> Done:
        """End the episode between two turns, such as for "context_full", and score it unless it had an outage.

        Raises `ComponentError` when the reward is no number, or none that can be learned from.
        """
        self._check()
        if self.outage:
            return self._end("retriever_unavailable", 0.0)
        paid = self.scorer.score(self.answer, self.question.answers)
        reward = number(paid)
        if reward is None:
            raise ComponentError(
                f"reward {self.scorer.type}: got {shown(paid)} for the answer {self.answer!r:.80} to question "
                f"{self.question.id!r}, expected a finite number of at most {LARGEST:g}",
                self.scorer,
            )
        return self._end(stop_reason, reward)

    def metrics(self) -> dict[str, float]:
        """Return the figures that every report needs; the recall of gold passages only where the question names any."""
        question, answer = self.question, self.answer
        gold, seen = set(question.gold), {*self.given, *(h for t in self.turns for h in t.hits)}
        queries = [t.text for t in self.turns if t.kind == "search"]
        recall = {"gold_recall": len(gold & seen) / len(gold)} if gold else {}
        return {
            "exact_match": exact_match(answer, question.answers),
            "f1": f1(answer, question.answers),
            "searches": float(len(queries)),
            "repeated": float(len(queries) - len(set(queries))),
            "empty": float(sum(blank(t) for t in self.turns)),
            "invalid": sum(t.kind == "invalid" for t in self.turns) / max(1, len(self.turns)),
            "no_answer": float(answer is None),
            **recall,
        }

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, ready for JSON. Raises `RuntimeError` while a search is under way."""
        if self._query is not None:
            raise RuntimeError(f"the search {self._query!r} is under way: take the state between two turns")
        return {
            "question": asdict(self.question),
            "turns": [asdict(turn) for turn in self.turns],
            **({"given": list(self.given)} if self.given else {}),
            "shown": self.shown,
            "stop_reason": self.stop_reason,
            "reward": self.reward,
            "outage": self.outage,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back (or forward) to a state; the question may be another one."""
        self.question, self.turns = _records().validate_python((state["question"], state["turns"]))
        self.shown, self.stop_reason, self.given = state["shown"], state["stop_reason"], tuple(state.get("given", ()))
        self.reward, self.outage = state["reward"], state["outage"]
        self._query = None

    def _end(self, stop_reason: str, reward: float) -> Done:
        self.stop_reason, self.reward, self.shown = stop_reason, reward, ""
        return Done(stop_reason)

    def _take(self) -> str:
        if self._query is None:
            raise RuntimeError("no search is under way: only `act` can ask for one")
        query, self._query = self._query, None
        return query

    def _check(self) -> None:
        if self.stop_reason is not None:
            raise RuntimeError(f"the episode has ended ({self.stop_reason}): begin another one")
        if self._query is not None:
            raise RuntimeError(f"the search {self._query!r} is under way: `observe` its hits first, or `lose` it")


def blank(turn: Turn) -> bool:
    """Say whether a search asked for nothing: without a letter or digit, or so blank that the protocol refused it."""
    refused = (turn.kind, turn.text) == ("invalid", "empty search")
    return refused or (turn.kind == "search" and not any(map(str.isalnum, turn.text)))


@cache
def _records() -> TypeAdapter[tuple[Question, list[Turn]]]:
    return TypeAdapter(tuple[Question, list[Turn]])


def _recorded(title: str) -> str:
    """Return a title that can be written down and read: no lone surrogates, and not a whole text."""
    return title[:LONGEST_TITLE].encode("utf-8", "replace").decode()


def boundary(trajectory: Trajectory, turn: int) -> dict[str, Any]:
    """Return the state in which a recorded episode was before its turn `turn`, as `Episode.restore` takes it.

    Raises `ValueError` when the episode has no such turn.
    """
    return {
        "question": asdict(trajectory.question),
        "turns": [asdict(t) for t in trajectory.turns[:turn]],
        "shown": trajectory.before(turn)[-1].text,
        "stop_reason": None,
        "reward": 0.0,
        "outage": "",
    }

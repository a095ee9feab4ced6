"""Act with an agent of one's own: a function of text, such as one that runs a LangGraph or smolagents agent.

It comes in two shapes, told apart by what it takes. `act(text)` is called for every turn with all that was shown and
written so far, and returns what is written next. `solve(question, search)` owns its loop: it calls `search(query)` as
often as it likes and returns its answer; each call is recorded as a turn, and returns what the environment shows.
"""

from __future__ import annotations

import importlib
import inspect
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, get_type_hints

from pydantic import Field

from sdsearch.agents.calling.running import Running, Wish
from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment
from sdsearch.errors import ComponentError, Unavailable

TURN, LOOP = ("text",), ("question", "search")
"""What a function takes that writes one turn, and one that owns its loop."""


class CallableAgent(Agent):
    """A function of your own: `{type: callable, function: "mine:solve"}`; docs/agents.md shows both of its shapes.

    It keeps texts and no tokens. `OSError` and `ModelUnavailable` are outages; every other error is a fault of the
    program and is raised as it is.
    """

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """Where it is, as `package.module:function`. A spec may be somebody else's: only what has the signature of one of
    both shapes is called, the names and the annotation `-> str` included."""
    concurrency: int = Field(1, ge=1)
    """In how many episodes its code runs at the same time; more than 1 is for a function that allows it."""
    seconds: float = Field(600.0, gt=0)
    """How long a turn may take before that is an outage."""

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.function,)

    def inspect(self) -> str:
        """Import the function and say which shape it has. Raises `ComponentError` as `open`."""
        return f"{self.function} {'owns its loop' if self.load()[1] else 'writes one turn at a time'}"

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> CallableSession:
        """Return the session. Raises `ComponentError` when the function is not there, or has another signature."""
        return CallableSession(self, grammar, *self.load())

    def load(self) -> tuple[Callable[..., str], bool]:
        """Import the function, and say whether it owns its loop. Raises `ComponentError` as `open`."""
        module, _, names = self.function.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for name in names.split("."):
                found = getattr(found, name)
        except (ImportError, AttributeError) as error:
            raise ComponentError(
                f"the function {self.function!r} cannot be imported ({error}): expected `package.module:function`; is "
                "its folder on PYTHONPATH?"
            ) from error
        taken = parameters(found)
        if taken not in (TURN, LOOP):
            raise ComponentError(
                f"{self.function!r} is nothing that can be an agent: expected `def act(text: str) -> str` or "
                "`def solve(question: str, search: Callable[[str], str]) -> str`, not async, with these parameters "
                "and this annotation: nothing else is called"
            )
        return found, taken == LOOP


def parameters(found: Any) -> tuple[str, ...]:
    """Return what a plain function takes that says it returns a text; nothing for anything else."""
    if not inspect.isfunction(found) or inspect.iscoroutinefunction(found):
        return ()
    try:
        promises = get_type_hints(found).get("return") is str
    except (NameError, TypeError):  # an annotation that cannot be read promises nothing
        promises = found.__annotations__.get("return") == "str"
    return tuple(inspect.signature(found).parameters) if promises else ()


class CallableSession:
    """Plays episodes with a function; see `sdsearch.contracts.agent.AgentSession`."""

    def __init__(
        self, settings: CallableAgent, grammar: Grammar, function: Callable[..., str], owns_loop: bool
    ) -> None:
        """Take the settings, the grammar of the environment, and the function with its shape."""
        self.settings, self.grammar, self.function, self.owns_loop = settings, grammar, function, owns_loop
        self.questions: Sequence[Question] = ()
        self.pasts: dict[int, list[Segment]] = {}
        self.running: dict[int, Running] = {}

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question; what still waits in others is ended."""
        self._end(self.running)
        self.questions, self.pasts = questions, {}

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Let the function go on in each of `rows`; where others have left, it is ended."""
        self._end(self.running.keys() - set(rows))
        for row, text in zip(rows, texts, strict=True):
            past = self.pasts.setdefault(row, [])
            past.append(Segment("observation" if past else "prompt", text))
        return self._turns(rows)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes. A function that owns its loop is led through its searches once more.

        Raises `ComponentError` when it then searches for something else.
        """
        for row, past in zip(rows, pasts, strict=True):
            for at, segment in enumerate(past):
                self.pasts.setdefault(row, []).append(segment)
                if self.owns_loop and segment.role != "model" and at + 1 < len(past):
                    self._begin(row)
                    wrote = self._written(self.running[row].wish(self.settings.seconds))
                    if wrote != past[at + 1].text:
                        raise ComponentError(
                            f"{self.settings.function} cannot go on with a recorded episode: got {wrote!r:.80}, "
                            f"expected {past[at + 1].text!r:.80} once more: does it depend on chance?"
                        )
        return self._turns(rows)

    def _turns(self, rows: Sequence[int]) -> list[Reply]:
        waiting, active, replies = deque(rows), deque[int](), list[Reply]()
        while waiting or active:
            while waiting and len(active) < self.settings.concurrency:
                active.append(waiting.popleft())
                self._begin(active[-1])
            replies.append(self._reply(active.popleft()))
        return replies

    def _begin(self, row: int) -> None:
        """Let the function's code run in a row, until its next wish."""
        past, function = self.pasts[row], self.function
        if not self.owns_loop:
            text = self.grammar.preamble.text + "".join(s.text for s in past)
            self.running[row] = Running(lambda _: function(text))
        elif row in self.running:
            self.running[row].show(past[-1].text.strip())
        else:
            question = self.questions[row].text
            self.running[row] = Running(lambda search: function(question, search))

    def _reply(self, row: int) -> Reply:
        past = self.pasts[row]
        try:
            text = self._written(self.running[row].wish(self.settings.seconds))
        except (OSError, Unavailable) as error:
            self._end([row])
            return Reply(past[-1], None, outage=f"{self.settings.function}: {type(error).__name__}: {error}")
        except BaseException as error:
            self._end(self.running)
            error.add_note(f"in {self.settings.function}, question {self.questions[row].id}")
            raise
        past.append(Segment("model", text))
        return Reply(past[-2], past[-1])

    def _written(self, wish: Wish) -> str:
        """Return a wish in the words of the protocol; one that it cannot say stands there as it is."""
        text = wish.text.encode("utf-8", "replace").decode()
        if not self.owns_loop:
            ends = [at + len(stop) for stop in self.grammar.stop if (at := text.find(stop)) >= 0]
            return text[: min(ends)] if ends else text
        try:
            return self.grammar.write(wish.kind, text)
        except ValueError:
            return text

    def _end(self, rows: Collection[int]) -> None:
        for row in list(rows):
            self.running.pop(row).end()

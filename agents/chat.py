"""Act with a served chat model: any endpoint that speaks OpenAI's chat completions (vLLM, llama.cpp, hosted ones).

It keeps texts and no tokens, so that its episodes are played and judged, but never learned from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sdsearch.agents.chatting.conversation import TOOLS, messages, written
from sdsearch.agents.chatting.server import Server, Spent, TooLong, models
from sdsearch.config import keys
from sdsearch.config.component import Settings
from sdsearch.config.words import suggest
from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment
from sdsearch.errors import ModelError, ModelUnavailable


class Price(Settings):
    """What a million tokens cost, in any currency."""

    prompt: float = Field(ge=0)
    """Of those that are sent."""
    completion: float = Field(ge=0)
    """Of those that are written."""


class Chat(Agent):
    """A chat model behind an OpenAI-compatible endpoint: `{type: chat, url: http://127.0.0.1:8000/v1, model: name}`.

    The prompt and every observation is a message of the user's, after the protocol's system message and examples. What
    cannot be had from the server, after some attempts, ends the episode as an outage (`model_unavailable`).
    """

    url: str
    """The address that `/chat/completions` is appended to."""
    model: str = Field(min_length=1)
    """What the server knows the model by."""
    key: str | None = None
    """The variable of the environment that holds the key, never the key: that of a well-known provider
    (OPENAI_API_KEY), which is sent to its host alone, or SDSEARCH_KEY_ and the host, as in SDSEARCH_KEY_LLM_LAB_ORG."""
    actions: Literal["tags", "tools"] = "tags"
    """How the model acts: in the words of the protocol, or by calls of two tools, `search` and `answer`. A message
    without a call is read as the protocol's text."""
    temperature: float = Field(1.0, ge=0)
    """Where episodes are not played greedily; greedy is 0."""
    max_tokens: int = Field(512, ge=1)
    """The most tokens that one turn may take."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Laid over each request: `{top_p: 0.9}`, `{stop: null}` for a server that refuses a field."""
    concurrency: int = Field(8, ge=1)
    """The most requests that are under way at once."""
    seconds: float = Field(120.0, gt=0)
    """How long a request may wait for the server."""
    retries: int = Field(4, ge=0)
    """Attempts after the first."""
    pause: float = Field(0.5, ge=0)
    """Seconds before the second attempt, doubled before each further one, and drawn from half to one and a half times
    that. A server's own `Retry-After` goes before it, up to a minute."""
    price: Price | None = None
    """If given, the cost of each episode is among its figures."""

    RESERVED: ClassVar[tuple[str, ...]] = ("messages", "model", "stream", "n")
    """What `extra` cannot change."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        keys.endpoint(url)
        return url.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _free(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if taken := [name for name in extra if name in cls.RESERVED]:
            raise ValueError(f"got {', '.join(taken)}, which the agent itself sets: leave it out")
        return extra

    @model_validator(mode="after")
    def _to_its_host(self) -> Self:
        if self.key is not None and (why := keys.misdirected(self.key, self.url)):
            raise ValueError(f"key: {why}")
        return self

    @property
    def sends(self) -> tuple[tuple[str, str], ...]:
        return ((self.key, keys.endpoint(self.url).netloc),) if self.key else ()

    def inspect(self) -> str:
        """Ask the server which models it has.

        Raises `ModelUnavailable` when nothing answers, `ModelError` without the key or when it has not this model.
        """
        server = self.server(min(5.0, self.seconds))
        answer = server.send("GET", "/models")
        if answer.status_code == 404:
            return f"{self.url} answers, and does not say which models it has"
        names = models(server.understood(answer))
        if self.model not in names:
            raise ModelError(
                f"{self.url} has no model {self.model!r}, expected one of {', '.join(names[:20])}"
                f"{suggest(self.model, names)}"
            )
        return f"{self.url} has the model {self.model}"

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> ChatSession:
        """Return the session. Raises `ModelError` when the key is not in the environment."""
        return ChatSession(self, grammar, self.server(self.seconds))

    def server(self, seconds: float) -> Server:
        """Return what sends requests. Raises `ModelError` when the key is not in the environment."""
        return Server(self.url, self.key, self.concurrency, seconds, self.retries, self.pause)


class ChatSession:
    """Plays episodes with a served model; see `sdsearch.contracts.agent.AgentSession`."""

    def __init__(self, settings: Chat, grammar: Grammar, server: Server) -> None:
        """Take the settings, the grammar of the environment and the server."""
        self.settings, self.grammar, self.server = settings, grammar, server
        self.preamble = grammar.preamble
        self.seeds: Sequence[int] = ()
        self.greedy = False
        self.pasts: dict[int, list[Segment]] = {}

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.seeds, self.greedy, self.pasts = seeds, greedy, {}

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Ask for a turn in each of `rows`, some of them at the same time."""
        for row, text in zip(rows, texts, strict=True):
            past = self.pasts.setdefault(row, [])
            past.append(Segment("observation" if past else "prompt", text))
        return self._turns(rows)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes from their texts, whoever played them."""
        self.pasts |= {row: list(past) for row, past in zip(rows, pasts, strict=True)}
        return self._turns(rows)

    def _turns(self, rows: Sequence[int]) -> list[Reply]:
        pool = ThreadPoolExecutor(self.settings.concurrency, "chat")
        try:
            return list(pool.map(self._turn, rows))
        finally:
            # Whoever interrupts does not want what has not begun yet.
            pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self, row: int) -> Reply:
        past, settings = self.pasts[row], self.settings
        shown = past[-1]
        try:
            answer, retries = self.server.complete(self._request(row))
        except TooLong:
            return Reply(shown, None)
        except ModelUnavailable as error:
            return Reply(shown, None, outage=str(error))
        choice = answer.choices[0]
        text, reason = written(choice, self.grammar, settings.actions == "tools")
        past.append(Segment("model", text))
        return Reply(shown, past[-1], reason, figures=figures(answer.usage or Spent(), retries, settings.price))

    def _request(self, row: int) -> dict[str, Any]:
        settings, past = self.settings, self.pasts[row]
        tools = settings.actions == "tools"
        acting = {"tools": TOOLS} if tools else {"stop": list(self.grammar.stop)}
        body = {
            "model": settings.model,
            "messages": messages(self.preamble.system, (*self.preamble.segments, *past), self.grammar, tools),
            "temperature": 0.0 if self.greedy else settings.temperature,
            "max_tokens": settings.max_tokens,
            "seed": random.Random(f"{self.seeds[row]}/{len(past) // 2}").getrandbits(31),
            **acting,
            **settings.extra,
        }
        return {name: value for name, value in body.items() if value is not None}


def figures(spent: Spent, retries: int, price: Price | None) -> dict[str, float]:
    """Return what a turn cost."""
    sent, wrote = float(spent.prompt_tokens), float(spent.completion_tokens or 0)
    cost = {"cost": (sent * price.prompt + wrote * price.completion) / 1e6} if price else {}
    return {"prompt_tokens": sent, "completion_tokens": wrote, "model_retries": float(retries), **cost}

"""Requests to an OpenAI-compatible endpoint: sent patiently, within limits, and with nothing of the key in any message.

The wire format is one POST, which httpx2 sends. OpenAI's own package reads variables of its own, such as that of an
organisation, and sends them to whatever host it is told; and it follows redirects.
"""

from __future__ import annotations

import random
import re
import time
import weakref
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from sdsearch.config import keys
from sdsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    import httpx2

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses after which a request is sent again."""
LONGEST_PAUSE = 60.0
"""Seconds that a server may ask for before the next attempt."""
FULL = re.compile(r"context[\s_]*(length|size|window)|exceed_context|maximum context|prompt is too long", re.IGNORECASE)
"""How servers say that a conversation is too long."""


class Call(BaseModel):
    """A function that a model calls, and its arguments as it wrote them."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(BaseModel):
    """What stands round a call."""

    function: Call


class Message(BaseModel):
    """What a model wrote."""

    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    """A message, and why it ended."""

    message: Message
    finish_reason: str | None = None


class Spent(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class Answer(BaseModel):
    """What a chat completion is read for; everything else in it is left alone."""

    choices: list[Choice] = Field(min_length=1)
    usage: Spent | None = None


class TooLong(Exception):
    """The conversation does not fit the model."""


class Served(NamedTuple):
    """An answer and how it was come by."""

    answer: Answer
    retries: int


class Server:
    """Sends requests to an endpoint, patiently and within limits; several threads may share it."""

    def __init__(self, url: str, key: str | None, concurrency: int, seconds: float, retries: int, pause: float) -> None:
        """Take the settings of `sdsearch.agents.chat.Chat`; the key is read now, and no message ever shows it."""
        import httpx2

        self.url, self.variable, self.seconds, self.retries, self.pause = url, key, seconds, retries, pause
        self._key = keys.key(key) if key else ""
        self.client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(seconds, connect=min(10.0, seconds), pool=None),
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            follow_redirects=False,
            # A proxy of the environment would be shown, in the open, what is meant for this machine.
            trust_env=not keys.loopback(keys.endpoint(url).hostname or ""),
        )
        weakref.finalize(self, self.client.close)

    def complete(self, body: Mapping[str, Any]) -> Served:
        """Return the answer to a request.

        Raises `TooLong` when the conversation is, `ModelUnavailable` when all attempts failed or none would help.
        """
        failure = ModelUnavailable()
        for attempt in range(self.retries + 1):
            wait = self.pause * 2**attempt * random.uniform(0.5, 1.5)
            try:
                response = self.send("POST", "/chat/completions", body)
                if response.status_code == 200 or response.status_code not in AGAIN:
                    return Served(TypeAdapter(Answer).validate_python(self.understood(response)), attempt)
                failure, wait = self.refusal(response), asked_to_wait(response) or wait
            except Refused:
                raise
            except ModelUnavailable as error:
                failure = error
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, problem["loc"]))
                failure = ModelUnavailable(f"{self.url} answered no chat completion: {where}: {problem['msg']}")
            if attempt < self.retries:
                time.sleep(wait)
        raise ModelUnavailable(f"{failure}; gave up after {self.retries + 1} attempts") from failure

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        """Return what the server answers, whatever it says. Raises `ModelUnavailable` when nothing comes back."""
        import httpx2

        url = self.url + path
        try:
            return self.client.request(method, url, json=body)
        except httpx2.ConnectError as error:
            raise ModelUnavailable(f"nothing listens at {url} ({self.bare(str(error))}): is the server up?") from error
        except httpx2.TimeoutException as error:
            raise ModelUnavailable(f"{url} did not answer within {self.seconds:g} s (agent.seconds)") from error
        except httpx2.HTTPError as error:
            raise ModelUnavailable(f"{url} broke off ({type(error).__name__}: {self.bare(str(error))})") from error

    def understood(self, response: httpx2.Response) -> Any:
        """Return the JSON of a good answer. Raises `TooLong`, `Refused`, or `ModelUnavailable` for what is no JSON."""
        if response.status_code != 200:
            if response.status_code in (400, 413) and FULL.search(response.text):
                raise TooLong(self.bare(response.text)[:300])
            raise Refused(str(self.refusal(response)))
        try:
            return response.json()
        except ValueError as error:
            raise ModelUnavailable(
                f"{response.url} answered {self.bare(response.text)[:80]!r}, expected JSON"
            ) from error

    def refusal(self, response: httpx2.Response) -> ModelUnavailable:
        """Return an error with what the server says, less the key, which some repeat."""
        status, advice = response.status_code, ""
        if status in (401, 403):
            advice = f": is the key in {self.variable} right?" if self._key else ": it wants a key, name it by `key`"
        if status in (301, 302, 307, 308):
            advice = f": it is at {self.bare(response.headers.get('Location', ''))} now, write that as `url`"
        said = " ".join(self.bare(response.text).split())[:300]
        return ModelUnavailable(f"{response.url} answered HTTP {status}{advice} ({said})")

    def bare(self, text: str) -> str:
        """Return a text without the key."""
        return text.replace(self._key, "***") if self._key else text


class Refused(ModelUnavailable):
    """The server will not answer such a request, however often it is sent."""


def asked_to_wait(response: httpx2.Response) -> float | None:
    """Return the seconds that a server wants to be left alone for, at most a minute; None where it does not say."""
    given = response.headers.get("Retry-After", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(given).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if seconds == seconds else None


def models(listed: Any) -> list[str]:
    """Return the names in a list of models. Raises `ModelUnavailable` for anything else."""
    data = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(data, list):
        raise ModelUnavailable(
            f"got {listed!r:.80}, expected a list of models: is `url` that of an OpenAI-compatible API?"
        )
    return [str(m["id"]) for m in data if isinstance(m, dict) and "id" in m]

r"""Search over HTTP: ask a server that speaks Search-R1's `POST /retrieve`, one request for a batch of queries.

The protocol is that of Search-R1's `retrieval_server.py`: `{"queries": [...], "topk": k, "return_scores": true}` is
answered by `{"result": [[{"document": {"contents": "\"Title\"\ntext"}, "score": s}, ...], ...]}`, a list for each
query. The servers of verl and rLLM speak it as it is, and so does `sdsearch serve`. Where others differ their answers
show it, so that there is nothing to set: a server that asks for one `query` a request (SkyRL's since its gym 0.4),
documents without a wrapping and a score round them (what slime asks for), documents without a score or more of them
than were asked for (Search-R1's web search), a document that is a mere text, documents without an id or with title and
text apart (Pyserini).
"""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from pydantic import field_validator

from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.envs.data.reading.passages import passage as read
from sdsearch.envs.data.reading.record import Record, named
from sdsearch.envs.data.reading.support import content_id
from sdsearch.errors import DataError, RetrieverUnavailable
from sdsearch.retrieval.patience import Patience

if TYPE_CHECKING:
    from httpx2 import Client

CONNECT_SECONDS, IDLE_SECONDS, SHOWN, ABREAST = 10, 60, 200, 16
PROBE = "Who is there?"
"""What is asked to see whether a server answers."""


class Http(Retriever):
    """A server that others may share: Search-R1's, verl's, SkyRL's, or one that `sdsearch serve` has started."""

    url: str = "http://127.0.0.1:8000/retrieve"
    """Where the queries go; without a path, to `/retrieve`."""

    @field_validator("url")
    @classmethod
    def _whole(cls, url: str) -> str:
        try:
            parts = urlsplit(url.strip())
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"got {url!r:.200}, expected an address such as http://127.0.0.1:8000/retrieve")
        if parts.username or parts.password:
            raise ValueError("got a name or a password in an address, expected none: a spec is no place for secrets")
        return urlunsplit(parts._replace(path="/retrieve" if parts.path in ("", "/") else parts.path, fragment=""))

    def inspect(self) -> str | None:
        searcher = self.open()
        searcher.connect(CONNECT_SECONDS)
        return f"the server {self.url} answers"

    def open(self) -> HttpSearcher:
        """Return the searcher; it reaches the server when it is told to (`connect`), or at its first search."""
        return HttpSearcher(self.url)


class HttpSearcher:
    """A server to ask; see `sdsearch.contracts.retrieval.Searcher`. Connections are kept and used again."""

    def __init__(self, url: str) -> None:
        """Take the address."""
        self.url, self.seconds = url, Patience().seconds
        self.single = False
        """Whether the server has said that it takes one query a request; such requests go out side by side."""
        self.fingerprint: str | None = None
        """Names what is searched, where the server says it at `/health` beside `/retrieve`: ours does."""

    def connect(self, seconds: float) -> None:
        """Ask one query, and from now on wait `seconds` at most for an answer, and as long for a connection.

        Raises `RetrieverUnavailable`, which names the address, when nothing listens or what answers is something else.
        """
        self.seconds = seconds
        try:
            self.search([PROBE], 1)
            self.fingerprint = self._stated()
        except RetrieverUnavailable as error:
            remedy = "Start the server (ours is `sdsearch serve SPEC`), or set the retriever's `url`"
            raise RetrieverUnavailable(f"{self.url}: {error}. {remedy}") from error

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to `k` hits for each query, asked in one request. Raises `RetrieverUnavailable`.

        Scores are the server's. Where it gives none, or they rise from the first hit to the last as distances do, the
        rank stands for them (1, 1/2, 1/3...).
        """
        if not queries or k < 1:
            return [[] for _ in queries]
        # Half a surrogate pair, which a policy may write, has no form in UTF-8: servers refuse it.
        texts = [query.encode("utf-8", "replace").decode() for query in queries]
        if not self.single:
            answer = self._post(queries=texts, topk=k)
            if not answer.wants_one:
                return lists(answer.good, len(texts), k)
            self.single = True
        with ThreadPoolExecutor(min(len(texts), ABREAST)) as pool:
            answers = list(pool.map(lambda text: self._post(query=text, topk=k).good, texts))
        return [lists(answer, 1, k)[0] for answer in answers]

    def _post(self, **asked: Any) -> Answer:
        return self._ask("POST", self.url, json.dumps({**asked, "return_scores": True}).encode())

    def _stated(self) -> str | None:
        answer = self._ask("GET", urljoin(self.url, "health"))
        try:
            said = answer.good
        except RetrieverUnavailable:  # the page of a server that is not ours, or none
            said = None
        stated = said.get("fingerprint") if isinstance(said, Mapping) else None
        return stated if isinstance(stated, str) else None

    @cached_property
    def _client(self) -> Client:
        import httpx2

        # A proxy of this machine does not lead back to it.
        client = httpx2.Client(trust_env=not loopback(self.url), limits=httpx2.Limits(keepalive_expiry=IDLE_SECONDS))
        weakref.finalize(self, client.close)
        return client

    def _ask(self, method: str, url: str, body: bytes | None = None) -> Answer:
        """Return the answer, read to its end. Raises `RetrieverUnavailable`, which does not name the address."""
        import httpx2

        headers, end, content = {"Content-Type": "application/json"}, time.monotonic() + self.seconds, b""
        slow = f"the server did not answer within {self.seconds:g} s"
        try:
            with self._client.stream(method, url, content=body, headers=headers, timeout=self.seconds) as response:
                # The time limit of httpx2 is one for each piece of an answer: a server that drips would never meet it.
                for piece in response.iter_bytes():
                    content += piece
                    if time.monotonic() > end:
                        raise RetrieverUnavailable(slow)
        except httpx2.TimeoutException as error:
            raise RetrieverUnavailable(slow) from error
        except httpx2.ConnectError as error:
            raise RetrieverUnavailable("nothing listens there, or it cannot be reached") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise RetrieverUnavailable(f"the server could not be asked ({type(error).__name__})") from error
        return Answer(response.status_code, content)


class Answer(NamedTuple):
    """What came back."""

    status: int
    content: bytes

    @property
    def good(self) -> Any:
        """What it says. Raises `RetrieverUnavailable` for another status than 200, and where it is no JSON."""
        if self.status != 200:
            # What is wrong with a request is worth knowing; what a server says of itself may hold addresses.
            words = f" ({self.text})" if 400 <= self.status < 500 else ""
            raise RetrieverUnavailable(f"the server answered with the status {self.status}{words}, expected 200")
        return self.value

    @property
    def value(self) -> Any:
        """What it says, whatever the status. Raises `RetrieverUnavailable` where it is no JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise wrongly(f"{self.text!r}", "JSON") from error

    @property
    def wants_one(self) -> bool:
        """Whether it refuses a request because that has no `query`, as FastAPI says it."""
        try:
            faults = self.value["detail"] if self.status == 422 else []
            return any(fault["loc"][-1] == "query" for fault in faults)
        except (RetrieverUnavailable, LookupError, TypeError):
            return False

    @property
    def text(self) -> str:
        """How it begins."""
        return self.content[:SHOWN].decode("utf-8", "replace")


def wrongly(got: str, expected: str) -> RetrieverUnavailable:
    """Return the error for an answer of another form."""
    return RetrieverUnavailable(f"the server answered wrongly: got {got}, expected {expected}")


def loopback(url: str) -> bool:
    """Say whether an address is one of this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lists(value: Any, count: int, k: int) -> list[list[Hit]]:
    """Return the hits of `count` queries from what a server said. Raises `RetrieverUnavailable` for anything else."""
    result = value.get("result") if isinstance(value, Mapping) else None
    if not isinstance(result, list):
        raise wrongly(f"{json.dumps(value):.{SHOWN}}", '`{"result": [...]}`')
    if len(result) != count or not all(isinstance(items, list) for items in result):
        raise wrongly(f"{len(result)} lists" if len(result) != count else f"{result!r:.{SHOWN}}", f"{count} lists")
    return [hits(items[:k]) for items in result]


def hits(items: Sequence[Any]) -> list[Hit]:
    """Return hits from the documents of one query, best first, equal scores by passage id."""
    found: dict[str, tuple[Passage, Any]] = {}
    for item in items:
        wrapped = isinstance(item, Mapping) and "document" in item
        document = passage(item["document"] if wrapped else item)
        found.setdefault(document.id, (document, item.get("score") if isinstance(item, Mapping) else None))
    scores = [score for _, score in found.values()]
    if not all(known := [score is not None for score in scores]):
        if any(known):
            raise wrongly("scores for some documents of a query", "scores for all or for none")
        scores = []
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise wrongly(f"the score {score!r:.40}", "a finite number")
    if not scores or any(later > earlier for earlier, later in pairwise(scores)):
        scores = [1 / rank for rank in range(1, len(found) + 1)]
    ranked = [Hit(document, float(score)) for (document, _), score in zip(found.values(), scores, strict=True)]
    return sorted(ranked, key=lambda hit: (-hit.score, hit.passage.id))


def passage(document: Any) -> Passage:
    """Return the passage of a document, without an id one that its content names. Raises `RetrieverUnavailable`."""
    fields = {"contents": document} if isinstance(document, str) else document
    if not isinstance(fields, Mapping):
        raise wrongly(f"the document {document!r:.{SHOWN}}", "one with `contents`")
    whole = [fields.get(name) for name in ("id", "title", "text")]
    if whole[0] and all(isinstance(part, str) for part in whole):
        return Passage(*whole)  # type: ignore[arg-type]
    try:
        found = read(Record("a document", 1, fields))
    except DataError as error:
        raise wrongly(f"a document with the fields {named(fields)}", "texts under `contents`") from error
    return found if found.id else Passage(content_id(found.title, found.text), found.title, found.text)

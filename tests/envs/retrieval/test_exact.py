import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdsearch.core.question import Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.exact import Exact, ExactSearcher
from sdsearch.errors import DataError, IndexMismatch
from sdsearch.retrieval.corpora import best
from sdsearch.retrieval.index import read, seal
from sdsearch.retrieval.vectors import CHECKED
from sdsearch.testing import check_retriever

DYING = """
import os, signal, sys
from pathlib import Path
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import Hashing, HashingEncoder
from sdsearch.envs.retrieval.exact import Exact

encode, calls = HashingEncoder.encode_passages, 0

def dying(self, texts):
    global calls
    calls += 1
    if calls == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, texts)

HashingEncoder.encode_passages = dying
Exact(corpus=JsonlPassages(path=sys.argv[1]), embedder=Hashing(), path=Path(sys.argv[2]), batch_size=20).open()
"""


class Compass:
    """Embeds the four letters N, E, S and W as directions."""

    fingerprint = "compass"

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        directions = {"N": (0, 1), "E": (1, 0), "S": (0, -1), "W": (-1, 0)}
        return np.array([directions[t[0]] for t in texts], np.float32)

    encode_passages = encode_queries


def test_keeps_the_contract(corpus: JsonlPassages) -> None:
    check_retriever(Exact(corpus=corpus, embedder=Hashing()).open(), corpus.passages())


def test_scores_are_cosines_and_equal_ones_go_by_id() -> None:
    passages = [Passage(i, "", "") for i in "abcd"]
    searcher = ExactSearcher(passages, Compass().encode_queries(["N", "E", "N", "S"]), Compass())
    (hits,) = searcher.search(["N"], 4)
    assert [(h.passage.id, h.score) for h in hits] == [("a", 1.0), ("c", 1.0), ("b", 0.0), ("d", -1.0)]
    assert [h.passage.id for h in searcher.search(["N"], 1)[0]] == ["a"]
    assert searcher.search(["E", "S"], 0) == [[], []]


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1), st.integers(1, 10))
def test_best_is_a_stable_sort(scores: list[int], k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert best(np.array(scores, np.float32), k).tolist() == expected


def kept(index: Path) -> list[Path]:
    """Return the folders of vectors."""
    return list(index.glob("vectors-*"))


def test_vectors_are_kept_and_shared(corpus: JsonlPassages, tmp_path: Path, embedded: list[int]) -> None:
    retriever = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index")
    first = retriever.open().search(["fortress on the Dorn"], 5)
    (place,) = kept(tmp_path / "index")
    embedded.clear()
    assert retriever.open().search(["fortress on the Dorn"], 5) == first
    assert embedded == [CHECKED]
    assert np.load(place / "rows.npy").shape == (200, 512)


def test_another_corpus_or_embedder_gets_vectors_of_its_own(corpus: JsonlPassages, tmp_path: Path) -> None:
    index = tmp_path / "index"
    Exact(corpus=corpus, embedder=Hashing(), path=index).open()
    Exact(corpus=corpus, embedder=Hashing(dim=64), path=index).open()
    assert len(kept(index)) == 2
    corpus.path.write_text(corpus.path.read_text().replace("Place 7 is a", "Place 7 was a"))
    (hits,) = Exact(corpus=corpus, embedder=Hashing(), path=index).open().search(["Place 7"], 1)
    assert hits[0].passage.text.startswith("Place 7 was a")
    assert len(kept(index)) == 3


def test_the_order_of_the_file_does_not_matter(corpus: JsonlPassages, tmp_path: Path) -> None:
    Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open()
    lines = corpus.path.read_text().splitlines(keepends=True)
    corpus.path.write_text("".join(reversed(lines)))
    (hits,) = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path / "index").open().search(["Place 12"], 1)
    assert hits[0].passage.title == "Place 12"
    assert len(kept(tmp_path / "index")) == 1


@pytest.mark.parametrize("flipped", [False, True])
def test_a_killed_build_goes_on(corpus: JsonlPassages, tmp_path: Path, embedded: list[int], flipped: bool) -> None:
    """After its last whole batch; from the beginning where what it left has changed since."""
    index = tmp_path / "index"
    child = subprocess.run([sys.executable, "-c", DYING, str(corpus.path), str(index)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert not kept(index)
    (part,) = index.glob(".vectors-*.building/*.part")
    with part.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"half a row that reached the disk")
        if flipped:
            file.seek(5000)
            file.write(b"?")
    got = Exact(corpus=corpus, embedder=Hashing(), path=index, batch_size=20).open()
    # One to learn the dimension, what was missing (200 - 100, or all), and a few that are compared.
    assert embedded == [1, *[20] * (10 if flipped else 5), CHECKED]
    assert np.array_equal(got.rows, Exact(corpus=corpus, embedder=Hashing()).open().rows)
    assert [f.name for f in index.glob(".*") if f.suffix != ".lock"] == []


def test_a_damaged_file_is_written_anew(
    corpus: JsonlPassages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retriever = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path)
    expected = retriever.open().rows
    (place,) = kept(tmp_path)
    for content in (b"", (place / "rows.npy").read_bytes()[:-1]):
        (place / "rows.npy").write_bytes(content)
        capsys.readouterr()
        assert np.array_equal(retriever.open().rows, expected)
        said = capsys.readouterr().err
        assert f"the index {place} is damaged (rows.npy has {len(content):,} bytes and was written with 409," in said
        assert "it is built again" in said


def test_vectors_that_the_embedder_does_not_make_now_are_refused(corpus: JsonlPassages, tmp_path: Path) -> None:
    retriever = Exact(corpus=corpus, embedder=Hashing(), path=tmp_path)
    rows = np.array(retriever.open().rows)
    (place,) = kept(tmp_path)
    facts = read(place / "index.json")["facts"]
    np.save(place / "rows.npy", rows[::-1])
    seal(place, facts)
    with pytest.raises(IndexMismatch, match=r"other vectors than the embedder makes now: .* cosine of -?0\.\d+"):
        retriever.open()


def test_a_corpus_with_an_id_used_twice_is_refused(corpus: JsonlPassages) -> None:
    class Twice(JsonlPassages):
        def passages(self) -> list[Passage]:
            return [Passage("a", "", "x"), Passage("b", "", "y"), Passage("a", "", "z")]

    with pytest.raises(DataError, match="uses the passage id 'a' twice"):
        Exact(corpus=Twice(path=corpus.path), embedder=Hashing()).open()

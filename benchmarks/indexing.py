"""Index generated passages with the hashing embedder: rate, peak memory by count, a kill on the way, and verification.

Run from the repository: python benchmarks/indexing.py [--count 1000000 ...] [--retriever exact] [--kill]

Each count is indexed by a process of its own. What it holds is said beside what it held before there was any passage;
what a FAISS index or Chroma's graph needs while it is built is in there, the files that are mapped are not.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random as Dice

from pydantic import TypeAdapter

from sdsearch.contracts.retrieval import Retriever
from sdsearch.retrieval.opening import opened

CONSONANTS, VOWELS = "bcdfghjklmnprstvz", "aeiou"
RETRIEVERS = {
    "exact": {},
    "faiss": {"kind": "flat"},
    "hnsw": {"type": "faiss", "kind": "hnsw", "max_neighbors": 16, "ef_construction": 40},
    "chroma": {"max_neighbors": 16, "ef_construction": 40, "ef_search": 100},
    "bm25s": {},
}


def passages(count: int) -> Iterator[dict[str, str]]:
    """Yield passages of some forty words out of sixty thousand, frequent ones and rare ones."""
    dice = Dice(0)
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    words = sorted({"".join(dice.choices(syllables, k=dice.randint(2, 4))) for _ in range(60_000)})
    for i in range(count):
        text = " ".join(words[int(len(words) * dice.random() ** 3)] for _ in range(40))
        yield {"id": str(i), "title": f"{words[i % len(words)]} {i}", "text": text}


def resident() -> float:
    """Return the peak of what this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(corpus: Path, index: Path, name: str, dim: int) -> None:
    """Index a corpus and print what it took."""
    import numpy  # noqa: F401

    settings = {"type": name, "corpus": {"type": "jsonl", "path": str(corpus)}, "path": str(index), **RETRIEVERS[name]}
    if settings["type"] != "bm25s":
        settings["embedder"] = {"type": "hashing", "dim": dim}
    retriever: Retriever = TypeAdapter(Retriever).validate_python(settings)
    before, start = resident(), time.perf_counter()
    opened(retriever, whole=True)
    print(json.dumps({"before": before, "peak": resident(), "seconds": time.perf_counter() - start}))


def run(command: list[str], killed_at: Path | None) -> dict[str, float]:
    """Run a child; with `killed_at` kill it when that folder holds some vectors, and run it again."""
    if killed_at is not None:
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while first.poll() is None and not list(killed_at.glob(".vectors-*/journal")):
            time.sleep(0.01)
        time.sleep(1)
        first.send_signal(signal.SIGKILL)
        print(f"  killed: exit {first.wait()}; it goes on")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--retriever", choices=RETRIEVERS, default="exact")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kill", action="store_true", help="kill it a second after the first vectors, and go on")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child, given.retriever, given.dim)
        return
    for count in given.count:
        with tempfile.TemporaryDirectory() as folder:
            corpus, index = Path(folder) / "corpus.jsonl", Path(folder) / "index"
            with corpus.open("w") as file:
                file.writelines(json.dumps(passage) + "\n" for passage in passages(count))
            places = ["--child", str(corpus), str(index), "--retriever", given.retriever, "--dim", str(given.dim)]
            command = [sys.executable, __file__, *places]
            built = run(command, index if given.kill else None)
            again = run(command, None)
            size = sum(f.stat().st_size for f in index.rglob("*") if f.is_file()) / 1e6
            text = corpus.stat().st_size / 1e6
            print(
                f"{given.retriever}, {count:,} passages ({text:.0f} MB): {built['seconds']:.1f} s, "
                f"{count / built['seconds']:,.0f}/s, peak {built['peak']:.0f} MB ({built['before']:.0f} MB before), "
                f"{size:.0f} MB on disk; opened and all of it checked in {again['seconds']:.1f} s, peak "
                f"{again['peak']:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Measure the retrievers on the atlas: time to build, reopen and answer a batch, what HNSW misses, what hops find.

Run from the repository: python benchmarks/retrieval.py [--embedder hashing] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import TypeAdapter

from sdsearch.contracts.retrieval import Embedder, Retriever, Searcher
from sdsearch.core.question import Hit, Hop
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.retrieval.chroma import Chroma
from sdsearch.envs.retrieval.exact import Exact

BATCH, K, REPEAT = 64, 3, 9


def opened(name: str, retriever: Retriever) -> Searcher:
    """Open and say how long it took."""
    start = time.perf_counter(), time.process_time()
    searcher = retriever.open()
    print(f"{name}: {time.perf_counter() - start[0]:.2f} s ({time.process_time() - start[1]:.2f} s of processor time)")
    return searcher


def batch_seconds(searcher: Searcher, queries: Sequence[str]) -> float:
    """Return the least time of a batch, every batch being of other queries: what else runs only adds."""
    times = []
    for i in range(REPEAT):
        start = time.perf_counter()
        searcher.search(queries[i * BATCH : (i + 1) * BATCH], K)
        times.append(time.perf_counter() - start)
    return min(times)


def overlap(hits: Sequence[Sequence[Hit]], true: Sequence[Sequence[Hit]]) -> float:
    """Return the share of the true hits that were found."""
    ids = [({h.passage.id for h in a}, {h.passage.id for h in b}) for a, b in zip(hits, true, strict=True)]
    return sum(len(a & b) for a, b in ids) / sum(len(b) for _, b in ids)


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    embedder: Embedder = TypeAdapter(Embedder).validate_python({"type": given.embedder})
    corpus = AtlasPassages()
    hops: list[Hop] = [hop for q in AtlasQuestions(split="test").questions() for hop in q.hops]
    hops = list({hop.query: hop for hop in hops}.values())
    queries = [hop.query for hop in hops][: BATCH * max(REPEAT, 16)]
    print(
        f"{len(corpus.passages())} passages, {len(queries)} queries, {given.threads} threads, load {os.getloadavg()[0]}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        opened("embedder loaded (import included)", Exact(corpus=AtlasPassages(countries=1), embedder=embedder))
        chroma = opened("chroma, built", Chroma(corpus=corpus, embedder=embedder, path=path))
        opened("chroma, reopened", Chroma(corpus=corpus, embedder=embedder, path=path))
        exact = opened("exact, from the same vectors", Exact(corpus=corpus, embedder=embedder, path=path))
        bm25 = opened("bm25, built", BM25(corpus=corpus))
        encoder = embedder.open()
        times = []
        for i in range(REPEAT):
            start = time.perf_counter()
            encoder.encode_queries(queries[i * BATCH : (i + 1) * BATCH])
            times.append(time.perf_counter() - start)
        print(f"embedding {BATCH} queries: {min(times) * 1000:.1f} ms")
        true = exact.search(queries, K)
        for name, searcher in {"chroma": chroma, "exact": exact, "bm25": bm25}.items():
            seconds = batch_seconds(searcher, queries)
            results = searcher.search(queries, K)
            gold = sum(hop.passage in {h.passage.id for h in hits} for hop, hits in zip(hops, results, strict=False))
            share = f"{overlap(results, true):.4f} of exact's hits, " if name == "chroma" else ""
            print(
                f"{name}: {seconds * 1000:.1f} ms a batch of {BATCH}, {share}gold of a hop in {gold / len(results):.3f}"
            )


if __name__ == "__main__":
    main()

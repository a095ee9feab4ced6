"""Measure the retrievers on the atlas: time to build, reopen and answer a batch, what HNSW misses, what hops find.

Also what a server costs: batches asked of `sdsearch serve` and of the same index in this process, in turns.

Run from the repository: python benchmarks/retrieval.py [--embedder hashing] [--threads 2] [--countries 9] [--only-http]

With --ratios only three ratios, each of two things measured in turn in this process, in processor time, so that other
processes do not count: an index against its embedder, a batch of queries against single ones, and bm25s against bm25 on
generated passages. --passages and --words say how many; 0 leaves out the first two, or the last. What is imported and
loaded once does not count.

With --graph only what sizes of Chroma's graph cost, in processor time, and what it misses with them: 400,64,800 are 400
candidates, 64 links and 800 candidates in a search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch
from indexing import passages as generated
from pydantic import TypeAdapter
from query_kinds import QUERIES, sample

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Retriever, Searcher
from sdsearch.core.question import Hit, Hop, Passage
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.retrieval.bm25s import BM25S
from sdsearch.envs.retrieval.chroma import Chroma
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.retrieval.faiss import Faiss
from sdsearch.envs.retrieval.http import Http
from sdsearch.retrieval import corpora

BATCH, K, REPEAT, HTTP_REPEAT = 64, 3, 9, 20


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


@contextmanager
def served(retriever: Retriever, threads: int, folder: Path) -> Iterator[str]:
    """Serve a retriever in another process and yield the address."""
    atlas = {"type": "atlas"}
    environment = {"retriever": retriever.model_dump(mode="json"), "top_k": K}
    spec = {"name": "served", "data": {"train": atlas, "test": atlas}, "agent": "scripted", "environment": environment}
    (folder / "served.yaml").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "sdsearch", "serve", str(folder / "served.yaml"), "--port", "0"]
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout
        yield process.stdout.readline().split()[3]
        process.terminate()


def ratio_over_http(retriever: Retriever, queries: Sequence[str], threads: int, folder: Path) -> None:
    """Print how long batches take in this process and over a server, each batch asked of both, in turns."""
    own = retriever.open()
    with served(retriever, threads, folder) as url:
        remote = Http(url=url).open()
        pairs = []
        for i in range(HTTP_REPEAT + 1):
            batch = queries[(i * BATCH) % (len(queries) - BATCH + 1) :][:BATCH]
            times = {}
            for name, searcher in sorted({"own": own, "remote": remote}.items(), reverse=bool(i % 2)):
                start = time.perf_counter()
                searcher.search(batch, K)
                times[name] = time.perf_counter() - start
            pairs.append((times["own"], times["remote"]))
        pairs = pairs[1:]  # the first opens the connection and warms both
        assert remote.search(queries[:BATCH], K) == own.search(queries[:BATCH], K)
    least = [min(column) for column in zip(*pairs, strict=True)]
    each = sorted(remote / own for own, remote in pairs)
    print(
        f"{retriever.type} over http: {least[1] * 1000:.1f} ms a batch of {BATCH}, in process {least[0] * 1000:.1f}: "
        f"{least[1] / least[0]:.2f} x (the least of {HTTP_REPEAT}), {each[len(each) // 2]:.2f} x (median of pairs)"
    )


def overlap(hits: Sequence[Sequence[Hit]], true: Sequence[Sequence[Hit]]) -> float:
    """Return the share of the true hits that were found."""
    ids = [({h.passage.id for h in a}, {h.passage.id for h in b}) for a, b in zip(hits, true, strict=True)]
    return sum(len(a & b) for a, b in ids) / sum(len(b) for _, b in ids)


def spent(call: Callable[[], object], repeat: int = 1) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


class Some(Corpus):
    """The first passages of the atlas."""

    count: int

    def passages(self) -> Sequence[Passage]:
        return AtlasPassages().passages()[: self.count]


class Made(Corpus):
    """Generated passages."""

    count: int

    def passages(self) -> Sequence[Passage]:
        return [Passage(p["id"], p["title"], p["text"]) for p in generated(self.count)]


def vector_ratios(embedder: Embedder, count: int) -> None:
    """Print what an index costs beside its embedder, and what a batch of queries saves."""
    import chromadb  # noqa: F401
    import faiss  # noqa: F401

    corpus, encoder = Some(count=count), embedder.open()
    passages = corpora.ordered(corpus)
    encoder.encode_passages([p.contents for p in passages[:BATCH]])
    alone = spent(
        lambda: [encoder.encode_passages([p.contents for p in passages[i : i + 512]]) for i in range(0, count, 512)]
    )
    for name, make in {"exact": Exact, "faiss": Faiss, "chroma": Chroma}.items():
        with tempfile.TemporaryDirectory() as folder:
            retriever = make(corpus=corpus, embedder=embedder, path=Path(folder))
            built = spent(retriever.open)
        loaded = spent(embedder.open)
        share = alone / (built - loaded)
        print(f"{name}: {count / (built - loaded):.0f} passages/s, {share:.2f} of the embedder's {count / alone:.0f}/s")
    searcher = Exact(corpus=corpus, embedder=embedder).open()
    queries = [hop.query for q in AtlasQuestions(split="test").questions() for hop in q.hops][:BATCH]
    batch = spent(lambda: searcher.search(queries, K), 3)
    single = spent(lambda: [searcher.search([query], K) for query in queries], 2)
    print(f"a batch of {BATCH} queries: {batch * 1000:.0f} ms, {BATCH} single ones {single * 1000:.0f} ms")
    print(f"a batch: {single / batch:.1f} x")


def graphs(embedder: Embedder, corpus: AtlasPassages, every: Sequence[str]) -> None:
    """Print how long Chroma takes to place the passages, and how many queries then miss one of the exact best three."""
    import chromadb  # noqa: F401

    hops = list(dict.fromkeys(hop.query for q in AtlasQuestions(split="test").questions() for hop in q.hops))[:1024]
    dice, others = Random(0), set[str]()
    for _, questions in sample(30):
        others |= {asks(q, i, dice) for q in questions for asks in QUERIES.values() for i in range(len(q.hops))}
    queries = hops + sorted(others - set(hops))
    with tempfile.TemporaryDirectory() as folder:
        true = Exact(corpus=corpus, embedder=embedder, path=Path(folder)).open().search(queries, K)
        loaded = spent(embedder.open)
        for each in every:
            candidates, links, search = map(int, each.split(","))
            chroma = Chroma(
                corpus=corpus,
                embedder=embedder,
                path=Path(folder),
                ef_construction=candidates,
                max_neighbors=links,
                ef_search=search,
            )
            seconds = spent(chroma.open) - loaded
            found = chroma.open().search(queries, K)
            missed = [a[-1].score < b[-1].score - 2e-6 for a, b in zip(found, true, strict=True)]
            asked, of_hops = len(queries) - len(hops), sum(missed[: len(hops)])
            print(f"{each}: placed in {seconds:.1f} s of processor time", flush=True)
            print(
                f"  miss one of the best {K}: {of_hops} of {len(hops)} hops, {sum(missed) - of_hops} of {asked} others"
            )


def word_ratio(words: int) -> None:
    """Print how much faster bm25s answers than bm25."""
    made = Made(count=words)
    asked = [" ".join(p["text"].split()[5:9]) for p in generated(200)]
    times = {}
    for name, make_words in {"bm25": BM25, "bm25s": BM25S}.items():
        opened_words = opened(f"{name}, {words:,} passages", make_words(corpus=made))
        times[name] = spent(lambda searcher=opened_words: searcher.search(asked, K), 3)
        print(f"{name}: {times[name] * 1000 / len(asked):.2f} ms a query of 4 words")
    print(f"bm25s: {times['bm25'] / times['bm25s']:.1f} x")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--countries", type=int, default=None, help="of the atlas; by default all")
    parser.add_argument("--only-http", action="store_true", help="nothing but the price of a server")
    parser.add_argument("--ratios", action="store_true")
    parser.add_argument("--graph", nargs="+", metavar="EF_CONSTRUCTION,MAX_NEIGHBORS,EF_SEARCH", help="only Chroma's")
    parser.add_argument("--passages", type=int, default=2048, help="embedded for the first two ratios")
    parser.add_argument("--words", type=int, default=200_000, help="generated passages for the last ratio")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    embedder: Embedder = TypeAdapter(Embedder).validate_python({"type": given.embedder})
    if given.ratios:
        if given.passages:
            vector_ratios(embedder, given.passages)
        if given.words:
            word_ratio(given.words)
        return
    corpus = AtlasPassages(countries=given.countries)
    if given.graph:
        graphs(embedder, corpus, given.graph)
        return
    hops: list[Hop] = [hop for q in AtlasQuestions(split="test").questions() for hop in q.hops]
    hops = list({hop.query: hop for hop in hops}.values())
    queries = [hop.query for hop in hops][: BATCH * max(REPEAT, 16)]
    print(
        f"{len(corpus.passages())} passages, {len(queries)} queries, {given.threads} threads, load {os.getloadavg()[0]}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if given.only_http:
            ratio_over_http(Exact(corpus=corpus, embedder=embedder, path=path), queries, given.threads, path)
            return
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
        ratio_over_http(Exact(corpus=corpus, embedder=embedder, path=path), queries, given.threads, path)


if __name__ == "__main__":
    main()

"""Search a FAISS index (Douze et al., 2024, arXiv 2401.08281): flat, HNSW or inverted lists; or one made elsewhere.

Vectors are embedded once and kept, in a folder that `exact` and `chroma` share; the index is built from them and kept
beside. FAISS holds all of it in memory while it builds: 4 x dim bytes for each passage, and for HNSW 8 bytes more for
each of `max_neighbors` links. A large index is mapped when it is opened, where its kind allows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sdsearch.config.discovery import remedy
from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Embedder, Encoder, Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import ComponentError, IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval import corpora, vectors
from sdsearch.retrieval.index import Facts, kept
from sdsearch.retrieval.progress import progress

if TYPE_CHECKING:
    import faiss

FILE = "faiss.index"
TRAINED = 64
"""Passages for each list of an inverted file, on which its centres are learnt."""
SETTINGS = {
    "flat": (),
    "hnsw": ("max_neighbors", "ef_construction", "ef_search"),
    "ivf": ("lists", "probes", "seed"),
}
"""What each kind is built and searched by."""


class Faiss(Retriever):
    """Cosine search in a FAISS index. Equal passages go by id, what HNSW or IVF misses is missed."""

    corpus: Corpus
    """What is searched. For an `index` made elsewhere the record in row n is passage n, as in Search-R1's files."""
    embedder: Embedder
    """What turns passages and queries into vectors."""
    path: Path | None = None
    """The folder in which the index and its vectors are folders; None keeps them in memory."""
    index: Path | None = None
    """The file of an index made elsewhere, used as it is, such as Search-R1's `e5_Flat.index`; never written to."""
    kind: Literal["flat", "hnsw", "ivf"] = "flat"
    """Compare with all; walk a graph; or look into the nearest of some lists."""
    max_neighbors: int = Field(64, ge=2)
    """HNSW: links of each passage (M)."""
    ef_construction: int = Field(400, ge=1)
    """HNSW: candidates weighed when a passage is placed."""
    ef_search: int = Field(400, ge=1)
    """HNSW: candidates weighed in a search, also of an index made elsewhere."""
    lists: int | None = Field(None, ge=1)
    """IVF: the number of lists; None takes 4 x the square root of the passages."""
    probes: int = Field(32, ge=1)
    """IVF: lists looked into in a search, also of an index made elsewhere."""
    seed: int = Field(0, ge=0)
    """IVF: draws the passages on which the centres are learnt."""
    batch_size: int = Field(512, ge=1)
    """Passages embedded between two steps of the progress display; an interruption costs at most so many."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        built = self.model_fields_set & {"path", "kind", "max_neighbors", "ef_construction", "lists", "seed"}
        if self.index is not None and built:
            raise ValueError(
                f"`{min(built)}` is about an index that is built, got it beside `index`, which is made already"
            )
        foreign = self.model_fields_set & {n for names in SETTINGS.values() for n in names} - {*SETTINGS[self.kind]}
        if self.index is None and foreign:
            raise ValueError(
                f"`{min(foreign)}` is not about the kind {self.kind}, expected {SETTINGS[self.kind] or 'none'}"
            )
        return self

    def inspect(self) -> str | None:
        if self.index is None:
            return None
        index = read(self.index.expanduser())
        return f"{self.index} holds {index.ntotal:,} vectors of {index.d} numbers ({type(index).__name__})"

    def open(self) -> FaissSearcher:
        """Open the index, or build it first; an interrupted build goes on with the vectors that it has.

        Raises `IndexMismatch` for an index that is not one of this corpus and embedder, `IndexUnwritable` where it does
        not go, `ComponentError` without the package.
        """
        load()
        encoder = self.embedder.open()
        if self.index is not None:
            return self._elsewhere(self.index.expanduser(), encoder)
        passages = corpora.ordered(self.corpus)
        chosen: dict[str, Any] = {name: getattr(self, name) for name in SETTINGS[self.kind]}
        facts: Facts = {
            "corpus": corpora.fingerprint(passages),
            "embedder": encoder.fingerprint,
            "passages": len(passages),
            "kind": self.kind,
            **chosen,
        }
        fingerprint = corpora.key(*map(str, facts.values()))
        folder = self.path.expanduser() if self.path else None
        embed = partial(vectors.embed, passages, encoder, folder, self.batch_size)
        if folder is None:
            index = self._built(embed())
        else:

            def build(into: Path) -> None:
                write(self._built(embed()), into / FILE)

            index = read(kept(folder / f"faiss-{fingerprint}", facts, build) / FILE)
        return self._searcher(index, passages, encoder, fingerprint, f"the index of kind {self.kind}")

    def _elsewhere(self, file: Path, encoder: Encoder) -> FaissSearcher:
        index, passages = read(file), self.corpus.rows()
        if index.ntotal != len(passages):
            raise IndexMismatch(
                f"{file} holds {index.ntotal:,} vectors and the corpus {len(passages):,} records: expected one for each"
            )
        print_of = corpora.fingerprint(passages)
        fingerprint = corpora.key(str(file.stat().st_size), print_of, encoder.fingerprint)
        return self._searcher(index, passages, encoder, fingerprint, str(file))

    def _searcher(
        self, index: faiss.Index, passages: Sequence[Passage], encoder: Encoder, fingerprint: str, name: str
    ) -> FaissSearcher:
        tune(index, self.ef_search, self.probes)
        searcher = FaissSearcher(index, passages, encoder, fingerprint)
        searcher.test(name)
        return searcher

    def _built(self, rows: NDArray[np.float32]) -> faiss.Index:
        package = load()
        index: Any
        made: faiss.Index
        count, dim = rows.shape
        if self.kind == "hnsw":
            index = package.IndexHNSWFlat(dim, self.max_neighbors, package.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = self.ef_construction
        elif self.kind == "ivf":
            lists = min(count, self.lists or max(1, round(4 * count**0.5)))
            index = package.IndexIVFFlat(package.IndexFlatIP(dim), dim, lists, package.METRIC_INNER_PRODUCT)
            index.cp.seed, index.cp.min_points_per_centroid = 1 + self.seed, 1
            dice = np.random.default_rng(self.seed)
            some = np.sort(dice.choice(count, min(count, TRAINED * lists), replace=False))
            with progress("learning the lists", 1) as advance:
                index.train(np.ascontiguousarray(rows[some]))
                advance(1)
        else:
            index = package.IndexFlatIP(dim)
        with progress("indexing passages", count) as advance:
            for i in range(0, count, self.batch_size):
                index.add(np.ascontiguousarray(rows[i : i + self.batch_size]))
                advance(len(rows[i : i + self.batch_size]))
        made = index
        return made


def load() -> Any:
    """Return the package. Raises `ComponentError` when it is not installed."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ComponentError(f"`type: faiss` needs the package faiss-cpu: {remedy('faiss')}") from error
    return faiss


def read(file: Path) -> faiss.Index:
    """Return the index in a file, mapped if it is large and flat or of lists. Raises `IndexMismatch`."""
    package = load()
    if not file.is_file():
        raise IndexMismatch(f"got {file}, which is no file: expected a FAISS index")
    large = file.stat().st_size > vectors.MAPPED
    try:
        index: faiss.Index = package.read_index(str(file), package.IO_FLAG_MMAP_IFC if large else 0)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][-200:]
        raise IndexMismatch(f"{file} cannot be read as a FAISS index ({reason})") from error
    return index


def write(index: faiss.Index, file: Path) -> None:
    """Write an index. Raises `OSError`, where FAISS knows only one kind of error."""
    try:
        load().write_index(index, str(file))
    except RuntimeError as error:
        raise OSError(str(error).strip().splitlines()[-1][-200:]) from error


def tune(index: faiss.Index, ef_search: int, probes: int) -> None:
    """Set how far an index looks, whichever kind it is of."""
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = ef_search
    if hasattr(index, "nprobe"):
        index.nprobe = probes


class FaissSearcher:
    """An opened index; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, index: faiss.Index, passages: Sequence[Passage], encoder: Encoder, fingerprint: str) -> None:
        """Take an index, the passages that its rows are of, what embeds queries, and what names all of it."""
        self.index, self.passages, self.encoder, self.fingerprint = index, passages, encoder, fingerprint
        self.cosine = index.metric_type == load().METRIC_INNER_PRODUCT

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest passages of each query; scores are cosines, those of a Euclidean index too."""
        if not queries or k < 1:
            return [[] for _ in queries]
        # Some to spare: equal passages at the end of the list are to be cut by id, not by chance.
        most = min(k + corpora.SPARE, len(self.passages))
        scores, rows = self._nearest(self.encoder.encode_queries(queries), most)
        return [self._hits(one, two, k) for one, two in zip(scores, rows, strict=True)]

    def _nearest(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, rows = self.index.search(np.ascontiguousarray(queries), count)
        # Of unit vectors: |a - b|^2 = 2 - 2 ab.
        return (scores if self.cosine else np.asarray(1 - scores / 2, np.float32)), rows

    def _hits(self, scores: Sequence[float], rows: Sequence[int], k: int) -> list[Hit]:
        hits: dict[str, Hit] = {}
        for score, row in zip(scores, rows, strict=True):
            if row >= len(self.passages):
                raise RetrieverUnavailable(f"FAISS answered wrongly: with row {row} of {len(self.passages)}")
            if row >= 0:  # where fewer were found, the rest is -1
                passage = self.passages[int(row)]
                hits.setdefault(passage.id, Hit(passage, round(float(score), 6)))
        return sorted(hits.values(), key=lambda h: (-h.score, h.passage.id))[:k]

    def test(self, name: str) -> None:
        """Raise `IndexMismatch` unless most of a few passages are found by what the embedder makes of them."""
        rows = vectors.sample(len(self.passages))
        texts = self.encoder.encode_passages([self.passages[row].contents for row in rows])
        if texts.shape[1] != self.index.d:
            raise IndexMismatch(
                f"{name} holds vectors of {self.index.d} numbers and the embedder makes {texts.shape[1]}: expected the "
                "embedder that it was made with"
            )
        scores, found = self._nearest(texts, min(corpora.SPARE, len(self.passages)))
        near = [
            float(max((s for s, r in zip(*pair, strict=True) if self._same(row, int(r))), default=-1))
            for row, pair in zip(rows, zip(scores, found, strict=True), strict=True)
        ]
        vectors.trusted(near, name)

    def _same(self, row: int, other: int) -> bool:
        return other == row or (other >= 0 and self.passages[other].contents == self.passages[row].contents)

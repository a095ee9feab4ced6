"""A Chroma collection that was made elsewhere, searched as it is: its documents are the passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.contracts.retrieval import Encoder
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import IndexMismatch, RetrieverUnavailable
from sdsearch.retrieval import corpora
from sdsearch.retrieval.chroma_database import asked, outage
from sdsearch.retrieval.opening import bounded

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

NEAR = 0.5
"""The least median cosine between the stored vectors of an existing collection and what the embedder makes of their
documents: another model is near 0, the right one with a title or a prefix more or less is above 0.7."""


def absent(name: str, names: Sequence[str]) -> str:
    """Say that there is no such collection."""
    listed = f"expected one of {', '.join(names)}" if names else "nor is there any other"
    return f"there is no collection {name!r}, {listed}"


def own_embedder(collection: Collection) -> dict[str, Any]:
    """Return the settings of the embedder that a collection says it was made by.

    Only models that run here are taken at its word: the others are asked over the network with a key, and where a
    collection sends a key is not for the collection to say. Raises `IndexMismatch` for them, and when it says nothing.
    """
    told: Mapping[str, Any] = collection.configuration_json.get("embedding_function") or {}
    name, config = told.get("name"), told.get("config") or {}
    if name in ("default", "onnx_mini_lm_l6_v2"):
        return {"type": "minilm"}
    if name == "sentence_transformer" and isinstance(config.get("model_name"), str):
        return {
            "type": "sentence_transformers",
            "model": config["model_name"],
            "query_prompt": "",
            "passage_prompt": "",
        }
    said = f"it was made by {name!r}, which is not used unasked" if name else "it does not say what made its vectors"
    raise IndexMismatch(
        f"the Chroma collection {collection.name!r} needs an `embedder`: {said}. Name the one that it was made with, "
        "such as `embedder: {type: sentence_transformers, model: ...}`"
    )


class ExistingSearcher:
    """A collection made elsewhere, used as it is; see `sdsearch.contracts.retrieval.Searcher`. Not fork-safe."""

    def __init__(
        self, collection: Collection, encoder: Encoder, title_key: str, passages: Mapping[str, Passage] | None
    ) -> None:
        """Take the collection, what embeds queries, and the passages by id, where it keeps no documents."""
        self.collection, self.encoder, self.title_key, self.passages = collection, encoder, title_key, passages
        hnsw = collection.configuration_json.get("hnsw") or collection.configuration_json.get("spann") or {}
        self.space = str(hnsw.get("space") or "l2")
        self.count = bounded(collection.count)
        self.fingerprint = corpora.key(collection.name, str(collection.id), str(self.count), encoder.fingerprint)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the `k` nearest documents of each query. Raises `RetrieverUnavailable`.

        Scores are cosines where the collection's space is `cosine`, else the distance with its sign turned.
        """
        if not queries or k < 1:
            return [[] for _ in queries]
        include = ["distances", "documents", "metadatas"] if self.passages is None else ["distances"]
        answers = asked(
            self.collection, self.encoder.encode_queries(queries), min(k + corpora.SPARE, self.count), include
        )
        hits = []
        for i, ids in enumerate(answers["ids"]):
            texts, about = ((answers.get(n) or [[]] * len(queries))[i] for n in ("documents", "metadatas"))
            found = [self._passage(id_, at, texts, about) for at, id_ in enumerate(ids)]
            scores = [round(float(self.space == "cosine") - d, 6) for d in answers["distances"][i]]
            ranked = sorted(map(Hit, found, scores), key=lambda h: (-h.score, h.passage.id))
            hits.append(ranked[:k])
        return hits

    def _passage(self, id_: str, at: int, texts: Sequence[str], about: Sequence[Mapping[str, Any] | None]) -> Passage:
        if self.passages is not None:
            if id_ not in self.passages:
                raise RetrieverUnavailable(f"Chroma answered wrongly: with {id_!r}, which is not in the corpus")
            return self.passages[id_]
        title = str((about[at] or {}).get(self.title_key) or "")
        return Passage(id_, title, (texts[at] or "").removeprefix(f"{title}\n") if title else texts[at] or "")

    def test(self) -> None:
        """Raise `IndexMismatch` unless a few documents have texts, and vectors that the embedder makes of them."""
        name = f"the Chroma collection {self.collection.name!r}"
        if not self.count:
            raise IndexMismatch(f"{name} is empty: expected documents")
        with outage("look into the collection"):
            look = partial(self.collection.get, limit=8, include=["documents", "embeddings"])
            some: Any = bounded(look)
        texts = some["documents"] or []
        if self.passages is not None:
            if missing := [i for i in some["ids"] if i not in self.passages]:
                raise IndexMismatch(f"{name} has the id {missing[0]!r}, which is not in the corpus: expected ids of it")
            texts = [self.passages[i].contents for i in some["ids"]]
        if not all(isinstance(text, str) and text.strip() for text in texts) or not texts:
            raise IndexMismatch(f"{name} keeps no documents: name the `corpus` that has their texts under the same ids")
        stored, again = np.asarray(some["embeddings"], np.float32), self.encoder.encode_passages(texts)
        if stored.shape[1] != again.shape[1]:
            raise IndexMismatch(
                f"{name} holds vectors of {stored.shape[1]} numbers and the embedder makes {again.shape[1]}: expected "
                "the embedder that it was made with"
            )
        cosines = np.sum(stored * again, axis=1) / np.maximum(1e-9, np.linalg.norm(stored, axis=1))
        if (median := float(np.median(cosines))) < NEAR:
            raise IndexMismatch(
                f"{name} was made by another embedder: its vectors and those made now have a median cosine of "
                f"{median:.2f}, expected more than {NEAR}"
            )

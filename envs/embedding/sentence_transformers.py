"""Embed with any sentence-transformers model, by hub name or folder: E5, BGE, GTE, MiniLM and the like.

What a model card asks for is often not in the model's files: E5 wants a prefix before queries and passages, and says
so in words only. The families in `CARDS` are known by their names; of any other the model's own word is taken.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.config.scalars import NameOrPath
from sdsearch.contracts.retrieval import Embedder
from sdsearch.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceTransformers(Embedder):
    """A sentence-transformers model whose vectors are normalised, so that cosine is the distance.

    Prompts and pooling are what is set here, else what the model declares in its files, else what the card of its
    family says: E5's "query: " and "passage: ", BGE's instruction before queries and its pooling of the first token.
    """

    model: NameOrPath
    """A name of the hub, or a folder, which begins with `/`, `./`, `../` or `~`."""
    revision: str | None = None
    """The commit, tag or branch of the hub; pin it for runs that are to be repeated."""
    query_prompt: str | None = None
    """Put before each query; None takes what the model declares, or its card says, if anything."""
    passage_prompt: str | None = None
    """Put before each passage; None takes what the model declares, or its card says, if anything."""
    pooling: Literal["mean", "cls", "lasttoken"] | None = None
    """How a text's vector is made of its tokens'. None takes what the model declares or its card says; a model that is
    only a transformer, and of no known family, is refused without."""
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Longer texts are cut; None takes the model's own limit."""
    device: str = "auto"
    """Where the weights go; "auto" takes an accelerator if there is one."""
    batch_size: int = Field(64, ge=1, le=65536)
    """Texts per forward pass; it does not change the vectors beyond rounding."""
    local_files_only: bool = False
    """Never ask the hub: the model must be in a folder or in the local cache."""
    trust_remote_code: bool = False
    """Run code that comes with a model from the hub."""

    def inspect(self) -> str | None:
        """Say where the model is: in a folder, in the cache of the hub, or still to be fetched; nothing is loaded.

        Raises `ModelError` for a folder that holds none, and for one of the hub that may not be fetched and is not
        there.
        """
        from huggingface_hub import try_to_load_from_cache

        folder = Path(self.model)
        if folder.is_absolute():
            if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
                raise ModelError(
                    f"the embedding model {self.model!r} is no folder with a config.json or modules.json, expected one "
                    "in the layout of sentence-transformers; `type: minilm` needs no download"
                )
            return f"a model in {folder}"
        if isinstance(try_to_load_from_cache(self.model, "config.json", revision=self.revision), str):
            return f"{self.model} is in the local cache"
        if self.local_files_only:
            raise ModelError(
                f"the embedding model {self.model!r} is not in the local cache, and `local_files_only` forbids to "
                "fetch it; `type: minilm` needs no download"
            )
        return f"{self.model} is not on this machine: it is fetched from the hub when it is opened"

    def open(self) -> SentenceEncoder:
        """Load the model. Raises `ModelError` when it cannot be loaded."""
        card = card_of(self.model)
        pooling = self.pooling or (card.pooling if card else None)
        if pooling is None and bare(self.model):
            raise ModelError(
                f"the model in {self.model} is a transformer that does not say how its tokens' vectors are pooled: "
                "set `pooling` to what its card says, most often `mean` or `cls`"
            )
        model = load(self.model, self.device, self.local_files_only, self.revision, self.trust_remote_code)
        if self.pooling or bare(self.model):
            pool(model, pooling or "mean")
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        query, passage = self.query_prompt, self.passage_prompt
        if query is None:
            query = _declared(model, "query") or (card.query if card else "")
        if passage is None:
            passage = _declared(model, "document", "passage", "corpus") or (card.passage if card else "")
        return SentenceEncoder(model, f"{fingerprint(model)}|{query}|{passage}", query, passage, self.batch_size)


class Card(NamedTuple):
    """What the cards of a family of models say in words."""

    query: str
    passage: str
    pooling: Literal["mean", "cls"]


INSTRUCTION = "Represent this sentence for searching relevant passages: "
CARDS = {
    r"(multilingual-)?e5-(small|base|large)(-v2)?(-unsupervised)?": Card("query: ", "passage: ", "mean"),
    r"bge-(small|base|large)-en(-v1\.5)?": Card(INSTRUCTION, "", "cls"),
    r"mxbai-embed-large-v1|(snowflake-)?arctic-embed-(xs|s|m|m-long|l)(-v1\.5)?": Card(INSTRUCTION, "", "cls"),
    r"nomic-embed-text-v1(\.5)?": Card("search_query: ", "search_document: ", "mean"),
    r"(contriever|gte-(small|base|large)|all-(minilm-l6-v2|minilm-l12-v2|mpnet-base-v2))": Card("", "", "mean"),
}
"""By the last part of a model's name: as the models' authors publish them on the hub."""


def card_of(model: str) -> Card | None:
    """Return what the card of the model's family says; None for a family that is not known."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    return next((card for pattern, card in CARDS.items() if re.fullmatch(pattern, name)), None)


def bare(model: str) -> bool:
    """Say whether a folder holds a transformer and nothing of sentence-transformers."""
    folder = Path(model)
    return (folder / "config.json").is_file() and not (folder / "modules.json").is_file()


def pool(model: SentenceTransformer, mode: Literal["mean", "cls", "lasttoken"]) -> None:
    """Let a model pool in another way than it does."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    for number, module in enumerate(model):
        if isinstance(module, Pooling):
            model[number] = Pooling(module.embedding_dimension, mode)


class SentenceEncoder:
    """An opened sentence-transformers model; see `sdsearch.contracts.retrieval.Encoder`."""

    def __init__(self, model: SentenceTransformer, fingerprint: str, query: str, passage: str, batch_size: int) -> None:
        """Take the model, its name for indexes, the two prompts and the size of a forward pass."""
        self.model, self.fingerprint, self.batch_size = model, fingerprint, batch_size
        self.query, self.passage = query, passage

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape [len(texts), dim]."""
        return self._encode(texts, self.query)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape [len(texts), dim]."""
        return self._encode(texts, self.passage)

    def _encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.model.get_embedding_dimension() or 0), np.float32)
        order, size = self._by_length(texts), self.batch_size
        batches = [[texts[i] for i in order[at : at + size]] for at in range(0, len(order), size)]
        rows = [
            self.model.encode(
                batch,
                prompt=prompt,
                batch_size=size,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
            for batch in batches
        ]
        return np.concatenate(rows).astype(np.float32, copy=False)[np.argsort(order)]

    def _by_length(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the order in which a batch pads least: that of tokens, as characters say little of short texts."""
        mask = self.model.preprocess(list(texts)).get("attention_mask")
        return np.argsort(mask.sum(dim=1).numpy() if mask is not None else [len(t) for t in texts], kind="stable")


def _declared(model: SentenceTransformer, *names: str) -> str:
    return next((prompt for n in names if (prompt := model.prompts.get(n))), "")


def load(
    model: str, device: str, local_files_only: bool, revision: str | None = None, trust_remote_code: bool = False
) -> SentenceTransformer:
    """Load a sentence-transformers model quietly, in eval mode. Raises `ModelError`."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        loaded = SentenceTransformer(
            model,
            device=None if device == "auto" else device,
            local_files_only=local_files_only,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the embedding model {model!r} could not be loaded on device {device!r}: {first} Expected a hub name or a "
            "folder in the layout of sentence-transformers; `type: minilm` needs no download."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return loaded.eval()


def fingerprint(model: SentenceTransformer) -> str:
    """Hash all that decides a vector: weights, vocabulary, module chain, pooling and the limit of tokens."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(repr(sorted(model.tokenizer.get_vocab().items())).encode())
    for module in model.children():
        settings: dict[str, object] = module.get_config_dict()  # type: ignore[operator]
        digest.update(f"{type(module).__name__} {sorted(settings.items())}".encode())
    digest.update(str(model.max_seq_length).encode())
    return f"sentence-transformers-{digest.hexdigest()[:32]}"

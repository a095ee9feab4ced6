"""Embed with any sentence-transformers model, by hub name or folder: E5, BGE, GTE, MiniLM and the like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

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

    E5 wants `query_prompt: "query: "` and `passage_prompt: "passage: "`.
    """

    model: NameOrPath
    """A name of the hub, or a folder, which begins with `/`, `./`, `../` or `~`."""
    revision: str | None = None
    """The commit, tag or branch of the hub; pin it for runs that are to be repeated."""
    query_prompt: str | None = None
    """Put before each query; None takes the prompt that the model itself declares, if any."""
    passage_prompt: str | None = None
    """Put before each passage; None takes the prompt that the model itself declares, if any."""
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

    def open(self) -> SentenceEncoder:
        """Load the model. Raises `ModelError` when it cannot be loaded."""
        model = load(self.model, self.device, self.local_files_only, self.revision, self.trust_remote_code)
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        query = _declared(model, "query") if self.query_prompt is None else self.query_prompt
        passage = self.passage_prompt
        if passage is None:
            passage = _declared(model, "document", "passage", "corpus")
        return SentenceEncoder(model, f"{fingerprint(model)}|{query}|{passage}", query, passage, self.batch_size)


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
        vectors = self.model.encode(
            list(texts),
            prompt=prompt,
            batch_size=self.batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, np.float32)


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

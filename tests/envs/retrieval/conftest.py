"""A corpus of made-up places, as a file, so that other processes can open it too."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding.hashing import HashingEncoder

KINDS = ("harbour", "market town", "mining village", "fortress", "spa", "fishing village", "capital")
RIVERS = ("Aller", "Besk", "Corim", "Dorn", "Ester")


@pytest.fixture
def corpus(tmp_path: Path) -> JsonlPassages:
    """Return 200 passages, the last two of which say the same under another id."""
    places = [
        {
            "id": f"p{i:03d}",
            "title": f"Place {i}",
            "text": f"Place {i} is a {KINDS[i % 7]} on the river {RIVERS[i % 5]} with {i * i + 90} people.",
        }
        for i in range(198)
    ]
    places += [{"id": i, "title": "Twin", "text": "Twin Rocks are two rocks alike."} for i in ("z2", "z1")]
    file = tmp_path / "places.jsonl"
    file.write_text("".join(json.dumps(p) + "\n" for p in places))
    return JsonlPassages(path=file)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many passages each call of the hashing embedder embeds from now on."""
    sizes: list[int] = []
    encode = HashingEncoder.encode_passages

    def counting(self: HashingEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
        sizes.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(HashingEncoder, "encode_passages", counting)
    return sizes

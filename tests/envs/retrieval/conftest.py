"""A corpus of made-up places, as a file, so that other processes can open it too; and a Chroma server."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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


@pytest.fixture
def port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Return a Chroma server of its own, which answers at the port."""
    chroma = str(Path(sys.executable).with_name("chroma"))
    command = [chroma, "run", "--path", str(tmp_path / "served"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()

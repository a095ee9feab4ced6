"""A corpus of made-up places, as a file, so that other processes can open it too."""

import json
from pathlib import Path

import pytest

from sdsearch.envs.data.jsonl import JsonlPassages

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

"""A study of two arms that are the same, one that is not, and one that fails; nothing in it takes long."""

from collections.abc import Callable
from pathlib import Path

import pytest

STUDY = """
kind: study
out: {folder}/runs
experiment: small.yaml
reference: plain
arms:
  plain: {{}}
  twin: {{objective: {{terms: {{1: {{weight: 0.5}}}}}}}}
seeds: [0, 1]
budget: {{rollouts: 16}}
targets: [0.5]
workers: 2
"""

Write = Callable[..., Path]


@pytest.fixture
def study(spec: Path) -> Write:
    """Return what writes a study of the small experiment; each pair is a text of it and what to put in its place."""

    def write(name: str = "pair", *changes: tuple[str, str]) -> Path:
        text = STUDY.format(folder=spec.parent)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = spec.parent / f"{name}.yaml"
        path.write_text(text)
        return path

    return write

"""A micro-batch is as large as the memory left holds for the vocabulary."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdsearch.policy import memory
from sdsearch.policy.memory import bytes_per_token, free, tokens_at_once

GIB = 1 << 30


def policy(vocabulary: int, hidden: int, inner: int, layers: int, weights: int) -> Any:
    """Return what is asked of a policy; its weights take no room."""
    parameter = SimpleNamespace(numel=lambda: weights, element_size=lambda: 4)
    return SimpleNamespace(
        model=SimpleNamespace(parameters=lambda: [parameter]),
        head=SimpleNamespace(weight=torch.empty(vocabulary, hidden, device="meta")),
        attention=SimpleNamespace(config=SimpleNamespace(intermediate_size=inner), kinds=[None] * layers),
        device=torch.device("cpu"),
    )


SMOLLM2 = policy(49_152, 576, 1536, 30, 134_515_008)


def test_the_bytes_of_a_token() -> None:
    assert bytes_per_token(SMOLLM2) == 4 * (6 * 49_152 + 30 * (14 * 576 + 5 * 1536)) == 3_068_928


@pytest.mark.parametrize(
    ("left", "tokens"),
    # A quarter of what is left beside 3 x 538 MB for gradients and averages: 22 GiB make 1,792 tokens.
    [(22 * GIB, 1024), (28 * GIB, 2048), (100 * GIB, 8192), (4000 * GIB, 16_384), (3 * GIB, 256), (GIB, 256)],
)
def test_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch, left: int, tokens: int) -> None:
    monkeypatch.setattr(memory, "free", lambda device: left)
    assert tokens_at_once(SMOLLM2) == tokens


@pytest.mark.parametrize(
    ("left", "context", "heads", "episodes"),
    # 30 layers x 2 x 192 numbers of 4 bytes, held twice, are 92,160 bytes a token; a quarter is taken.
    [(24 * GIB, 1000, 3, 64), (24 * GIB, 2000, 3, 32), (24 * GIB, 1000, None, 16), (GIB, 9000, 3, 8)],
)
def test_how_many_episodes_fit(
    monkeypatch: pytest.MonkeyPatch, left: int, context: int, heads: int | None, episodes: int
) -> None:
    monkeypatch.setattr(memory, "free", lambda device: left)
    SMOLLM2.attention.config.num_attention_heads, SMOLLM2.attention.config.num_key_value_heads = 9, heads
    assert memory.bytes_kept(SMOLLM2) == 2 * 2 * 30 * (heads or 9) * 64 * 4
    assert memory.episodes_at_once(SMOLLM2, context) == episodes


def test_a_container_may_have_less_than_its_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "LIMITS", ())
    machine = free(torch.device("cpu"))
    assert machine > 1 << 20
    (tmp_path / "most").write_text("3000000\n")
    (tmp_path / "used").write_text("1000000\n")
    (tmp_path / "max").write_text("max\n")
    pairs = [(tmp_path / "none", tmp_path / "none"), (tmp_path / "max", tmp_path / "used")]
    monkeypatch.setattr(memory, "LIMITS", pairs)
    assert free(torch.device("cpu")) > 2_000_000
    monkeypatch.setattr(memory, "LIMITS", [*pairs, (tmp_path / "most", tmp_path / "used")])
    assert free(torch.device("cpu")) == 2_000_000

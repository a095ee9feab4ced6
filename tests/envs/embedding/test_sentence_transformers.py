from pathlib import Path

import numpy as np
import pytest
import torch

from sdsearch.envs.embedding.minilm import MiniLM, find
from sdsearch.envs.embedding.sentence_transformers import SentenceTransformers, fingerprint, load
from sdsearch.errors import ModelError

FOLDER = str(find())


def test_a_folder_loads_and_gives_the_vectors_of_the_model() -> None:
    mine = SentenceTransformers(model=FOLDER, device="cpu", local_files_only=True).open()
    assert np.allclose(mine.encode_queries(["a"]), MiniLM(device="cpu").open().encode_queries(["a"]), atol=1e-6)


def test_prompts_go_before_queries_and_passages() -> None:
    plain = SentenceTransformers(model=FOLDER, device="cpu").open()
    e5 = SentenceTransformers(model=FOLDER, device="cpu", query_prompt="query: ", passage_prompt="passage: ").open()
    assert np.allclose(e5.encode_queries(["x"]), plain.encode_queries(["query: x"]), atol=1e-6)
    assert np.allclose(e5.encode_passages(["x"]), plain.encode_passages(["passage: x"]), atol=1e-6)
    assert e5.fingerprint != plain.fingerprint


def test_long_texts_are_cut_where_told() -> None:
    short = SentenceTransformers(model=FOLDER, device="cpu", max_tokens=8).open()
    one, two = short.encode_passages(["word " * 20, "word " * 20 + "other"])
    assert np.allclose(one, two, atol=1e-6)
    assert short.fingerprint != SentenceTransformers(model=FOLDER, device="cpu").open().fingerprint


def test_the_fingerprint_sees_a_single_changed_weight() -> None:
    model = load(FOLDER, "cpu", local_files_only=True)
    before = fingerprint(model)
    assert fingerprint(load(FOLDER, "cpu", local_files_only=True)) == before
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    assert fingerprint(model) != before


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"could not be loaded on device 'cpu'.*`type: minilm` needs no download"):
        SentenceTransformers(model=str(tmp_path / "none"), device="cpu", local_files_only=True).open()


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match="on device 'nonsense'"):
        SentenceTransformers(model=FOLDER, device="nonsense").open()

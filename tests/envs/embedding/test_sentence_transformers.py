import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from sdsearch.envs.embedding.minilm import MiniLM, find
from sdsearch.envs.embedding.sentence_transformers import SentenceTransformers, card_of, fingerprint, load
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


TEXTS = ["a town by the sea", "ships", "which harbour is the largest of them all"]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small random BERT, its tokeniser, and nothing of sentence-transformers."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    words = sorted({*" ".join(TEXTS).split(), "query", "passage", ":"})
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=5 + len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def by_hand(folder: Path, texts: list[str], pooling: str) -> np.ndarray[Any, Any]:
    """Return unit vectors of texts, each pooled alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        row = {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[pooling]
        rows.append(torch.nn.functional.normalize(row, dim=0).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_a_bare_transformer_is_pooled_as_told(transformer: Path, pooling: Any) -> None:
    encoder = SentenceTransformers(model=str(transformer), device="cpu", pooling=pooling).open()
    assert np.allclose(encoder.encode_passages(TEXTS), by_hand(transformer, TEXTS, pooling), atol=1e-5)


def test_a_bare_transformer_of_no_known_family_is_refused_without_pooling(transformer: Path) -> None:
    with pytest.raises(ModelError, match="does not say how its tokens' vectors are pooled: set `pooling`"):
        SentenceTransformers(model=str(transformer), device="cpu").open()


@pytest.mark.parametrize(
    ("name", "query", "passage", "pooling"),
    [
        ("e5-base-v2", "query: ", "passage: ", "mean"),
        ("multilingual-e5-small", "query: ", "passage: ", "mean"),
        ("bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", "", "cls"),
    ],
)
def test_families_are_used_as_their_cards_say(
    transformer: Path, tmp_path: Path, name: str, query: str, passage: str, pooling: str
) -> None:
    folder = shutil.copytree(transformer, tmp_path / name)
    encoder = SentenceTransformers(model=str(folder), device="cpu").open()
    assert np.allclose(encoder.encode_queries(TEXTS), by_hand(folder, [query + t for t in TEXTS], pooling), atol=1e-5)
    assert np.allclose(
        encoder.encode_passages(TEXTS), by_hand(folder, [passage + t for t in TEXTS], pooling), atol=1e-5
    )
    assert np.allclose(np.linalg.norm(encoder.encode_queries(TEXTS), axis=1), 1, atol=1e-5)
    plain = SentenceTransformers(model=str(folder), device="cpu", query_prompt="", passage_prompt="").open()
    assert np.allclose(plain.encode_queries(TEXTS), by_hand(folder, TEXTS, pooling), atol=1e-5)
    assert plain.fingerprint != encoder.fingerprint


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("intfloat/e5-large", "query: "),
        ("intfloat/e5-mistral-7b-instruct", None),
        ("BAAI/bge-m3", None),
        ("me/face5-base", None),
    ],
)
def test_only_families_that_are_known_have_a_card(name: str, query: str | None) -> None:
    card = card_of(name)
    assert (card.query if card else None) == query


def test_another_pooling_than_the_models_own() -> None:
    own, cls = (SentenceTransformers(model=FOLDER, device="cpu", pooling=p).open() for p in (None, "cls"))
    assert own.fingerprint != cls.fingerprint
    assert not np.allclose(own.encode_queries(["a town"]), cls.encode_queries(["a town"]), atol=0.01)


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"could not be loaded on device 'cpu'.*`type: minilm` needs no download"):
        SentenceTransformers(model=str(tmp_path / "none"), device="cpu", local_files_only=True).open()


def test_where_a_model_is_is_told_before_it_is_opened(tmp_path: Path) -> None:
    assert SentenceTransformers(model=FOLDER).inspect() == f"a model in {FOLDER}"
    with pytest.raises(ModelError, match=r"is no folder with a config\.json or modules\.json"):
        SentenceTransformers(model=str(tmp_path)).inspect()
    told = SentenceTransformers(model="nobody/has-this").inspect()
    assert told == "nobody/has-this is not on this machine: it is fetched from the hub when it is opened"
    with pytest.raises(ModelError, match="not in the local cache, and `local_files_only` forbids"):
        SentenceTransformers(model="nobody/has-this", local_files_only=True).inspect()


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match="on device 'nonsense'"):
        SentenceTransformers(model=FOLDER, device="nonsense").open()

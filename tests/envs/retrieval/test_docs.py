"""What docs/retrieval.md says can be done."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from sdsearch.config.discovery import known
from sdsearch.contracts.retrieval import LONGEST, Retriever
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.retrieval.index import LARGE
from sdsearch.retrieval.patience import MOST
from sdsearch.retrieval.vectors import MAPPED
from sdsearch.testing import check_retriever

PAGE = (Path(__file__).parents[3] / "docs" / "retrieval.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)([^\n]*)\n(.*?)```", PAGE, re.S)
LINES = re.findall(r"^\| `\w+` \| `(\{.*?\})` \|", PAGE, re.M)


@pytest.fixture
def modules(tmp_path: Path, corpus: JsonlPassages, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with the page's modules and a corpus."""
    for _, about, text in BLOCKS:
        if name := re.search(r"file=(\S+)", about):
            (tmp_path / name[1]).write_text(text)
    (tmp_path / "corpus.jsonl").write_bytes(corpus.path.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in ("hybrid", "reranked"):
        sys.modules.pop(module, None)


def test_every_line_is_a_retriever() -> None:
    retrievers = [yaml.safe_load(line.replace("...", "atlas")) for line in LINES]
    retrievers += [yaml.safe_load(text)["retriever"] for kind, _, text in BLOCKS if kind == "yaml"]
    assert len(LINES) == 5 and len(retrievers) == 10
    for settings in retrievers:
        assert TypeAdapter(Retriever).validate_python(settings).type in known(Retriever)


def test_its_numbers_are_those_of_the_code() -> None:
    said = (f"at most {LONGEST:,} characters", f"Above {LARGE // 2**30} GiB", f"above {MAPPED // 2**20} MiB")
    assert all(words in PAGE for words in said)
    assert MOST == 8 and "while there are eight" in PAGE


def test_the_hybrid_retriever_of_the_page(modules: Path, corpus: JsonlPassages) -> None:
    (text,) = (text for _, about, text in BLOCKS if about.strip() == "hybrid")
    searcher: Any = TypeAdapter(Retriever).validate_python(yaml.safe_load(text)["retriever"]).open()
    assert searcher.most == 16
    check_retriever(searcher, corpus.passages())
    assert searcher.search(["Plaec 77"], 3)[0][0].passage.id == "p077", "by its letters"


def test_the_reranker_of_the_page(modules: Path, corpus: JsonlPassages, monkeypatch: pytest.MonkeyPatch) -> None:
    reranked = importlib.import_module("reranked")
    from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder

    class Last(BaseCrossEncoder):
        """Puts the passage with the highest number first."""

        def __init__(self, model_name: str) -> None:
            assert model_name == "judge"

        def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
            return [float((re.findall(r"\d+", text) or ["-1"])[0]) for _, text in text_pairs]

    monkeypatch.setattr(reranked, "HuggingFaceCrossEncoder", Last)
    kwargs = {"model": "judge", "keep": 4}
    settings = {"type": "langchain", "factory": "reranked:reranked", "kwargs": kwargs, "corpus": corpus}
    searcher: Any = TypeAdapter(Retriever).validate_python(settings).open()
    assert searcher.most == 4
    (hits,) = searcher.search(["fortress"], 4)
    numbers = [int(h.passage.id[1:]) for h in hits]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == 4

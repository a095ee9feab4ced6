"""Every component that comes with the library keeps the contract of its family."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from sdsearch.config.component import Component
from sdsearch.config.discovery import known
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.engine import Model, Sampling
from sdsearch.contracts.environment import Environment
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.envs.data.atlas import AtlasPassages
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.policy.policy import Policy, language_model
from sdsearch.testing import (
    check_agent,
    check_credit,
    check_dataset,
    check_environment,
    check_hint,
    check_retriever,
    check_term,
    example_passages,
    example_questions,
    records,
)

FACTORY = "langchain_community.retrievers:TFIDFRetriever.from_documents"
CORPUS = {"type": "jsonl", "path": "passages.jsonl"}
NEEDED: dict[str, dict[str, Any]] = {
    "dataset/auto": {"path": "hotpotqa.jsonl"},
    "dataset/jsonl": {"path": "questions.jsonl"},
    "dataset/mixture": {"of": {"one": {"path": "musique.jsonl"}, "two": {"path": "questions.jsonl"}}},
    "dataset/table": {"path": "questions.jsonl", "fields": {"answers": ["answers"], "id": "id"}},
    **{f"dataset/{layout}": {"path": f"{layout}.jsonl"} for layout in records.LAYOUTS},
    "environment/search": {"retriever": {"type": "bm25", "corpus": CORPUS}},
    "retriever/bm25": {"corpus": CORPUS},
    "retriever/chroma": {"corpus": CORPUS, "embedder": "hashing"},
    "retriever/exact": {"corpus": CORPUS, "embedder": "hashing"},
    "retriever/bm25s": {"corpus": CORPUS, "path": "index"},
    "retriever/faiss": {"corpus": CORPUS, "embedder": "hashing", "path": "index", "kind": "hnsw"},
    "retriever/langchain": {"corpus": CORPUS, "factory": FACTORY, "kwargs": {"k": 8}},
    "retriever/random": {"corpus": CORPUS},
    "retriever/recorded": {"of": {"type": "bm25", "corpus": CORPUS}, "path": "recording.jsonl", "mode": "record"},
    "term/distill": {"hint": "hindsight"},
    "term/gated_gap": {"hint": "hindsight"},
}
"""Settings of the components that cannot do without; all others are tried as they are."""


def look_up(retriever: Retriever) -> None:
    """Check an opened retriever on the example passages."""
    check_retriever(retriever.open(), JsonlPassages(path=Path("passages.jsonl")).passages())


def read(dataset: Dataset) -> None:
    """Check a data set, the atlas against its corpus."""
    check_dataset(dataset, AtlasPassages().passages() if dataset.type == "atlas" else ())


def act(agent: Agent) -> None:
    """Check an agent; one that acts with a model is given the small one that comes along."""
    model, sampling = Model(device="cpu"), Sampling(max_new_tokens=24)
    check_agent(agent, model=language_model(model, sampling, Policy.load(model)) if agent.trainable else None)


CHECKS: dict[type[Component], Callable[[Any], None]] = {
    Agent: act,
    Credit: check_credit,
    Dataset: read,
    Environment: check_environment,
    Hint: check_hint,
    Retriever: look_up,
    Term: check_term,
}
ELSEWHERE = {(Dataset, "hugging_face"), (Agent, "chat"), (Agent, "callable"), (Retriever, "http")}
"""Not tried here: they need a hub, a server, a function. There are tests of them in tests/agents and tests/serving."""
EXTRA: dict[tuple[type[Component], str], str] = {(Retriever, "bm25s"): "bm25s", (Retriever, "faiss"): "faiss"}
"""Packages that some are tried only with."""
FOUND: list[tuple[type[Component], str]] = [
    (family, name) for family in CHECKS for name in known(family) if (family, name) not in ELSEWHERE
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder that holds the example passages and questions; a person, if asked, always searches."""
    passages = [{"id": p.id, "title": p.title, "text": p.text} for p in example_passages()]
    questions = [{"id": q.id, "question": q.text, "answers": list(q.answers)} for q in example_questions()]
    files: dict[str, list[dict[str, Any]]] = {"passages": passages, "questions": questions}
    files |= {layout: [makers[0](i) for i in range(4)] for layout, makers in records.LAYOUTS.items()}
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("s Paris\n" * 99))
    yield tmp_path


def test_every_family_has_members() -> None:
    assert {family for family, _ in FOUND} == set(CHECKS)
    assert NEEDED.keys() <= {f"{family.family}/{name}" for family, name in FOUND}


@pytest.mark.parametrize(("family", "name"), FOUND, ids=[f"{f.family}-{n}" for f, n in FOUND])
def test_a_component_keeps_its_contract(folder: Path, family: type[Component], name: str) -> None:
    if package := EXTRA.get((family, name)):
        pytest.importorskip(package)
    settings = {"type": name, **NEEDED.get(f"{family.family}/{name}", {})}
    CHECKS[family](TypeAdapter(family).validate_python(settings))

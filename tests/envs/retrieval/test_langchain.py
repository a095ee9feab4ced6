import importlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.langchain import LangChain, LangChainSearcher
from sdsearch.envs.search import Search
from sdsearch.errors import ComponentError, RetrieverUnavailable
from sdsearch.testing import check_retriever

TFIDF = "langchain_community.retrievers:TFIDFRetriever.from_documents"
ANY = LangChain(factory="a:b")


class Shelf(BaseRetriever):
    """Gives the same documents to every query, or raises."""

    documents: Sequence[Document] = ()
    error: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if self.error:
            raise self.error
        return list(self.documents)


def test_a_community_retriever_over_our_corpus(corpus: JsonlPassages) -> None:
    searcher = LangChain(factory=TFIDF, corpus=corpus, kwargs={"k": 5}).open()
    check_retriever(searcher, corpus.passages())
    (hits,) = searcher.search(["Place 77"], 3)
    assert hits[0].passage == next(p for p in corpus.passages() if p.id == "p077")
    assert [h.score for h in hits] == [1, 1 / 2, 1 / 3]


def test_a_vector_store_with_its_own_ids() -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document("Ships\ncarry goods", id="s", metadata={"title": "Ships"}), Document("Cars", id="c")])
    (hits,) = LangChainSearcher(ANY, store.as_retriever(search_kwargs={"k": 5})).search(["Cars"], 5)
    assert [(h.passage.id, h.passage.title, h.passage.text) for h in hits] == [
        ("c", "", "Cars"),
        ("s", "Ships", "carry goods"),
    ]


def test_ids_scores_and_repeats_come_from_the_metadata() -> None:
    shelf = Shelf(
        documents=[
            Document("one", metadata={"n": 1, "near": 0.2}),
            Document("two", metadata={"n": 2, "near": 0.9}),
            Document("one", metadata={"n": 1, "near": 0.2}),
        ]
    )
    settings = LangChain(factory="a:b", id_key="n", score_key="near")
    (hits,) = LangChainSearcher(settings, shelf).search(["q"], 5)
    assert [(h.passage.id, h.passage.text, h.score) for h in hits] == [("2", "two", 0.9), ("1", "one", 0.2)]
    assert len(LangChainSearcher(settings, shelf).search(["q"], 1)[0]) == 1


def test_an_id_of_two_texts_is_refused_and_texts_can_be_names() -> None:
    shelf = Shelf(documents=[Document("one", metadata={"n": 1}), Document("one again", metadata={"n": 1})])
    with pytest.raises(RetrieverUnavailable, match=r"two texts with the id '1', expected one .*`id_key` is 'n'"):
        LangChainSearcher(LangChain(factory="a:b", id_key="n"), shelf).search(["q"], 5)
    (hits,) = LangChainSearcher(LangChain(factory="a:b", id_key=""), shelf).search(["q"], 5)
    assert [h.passage.text for h in hits] == ["one", "one again"]


class Few(Shelf):
    """Says how many documents it returns at most."""

    top_k: int = 2


class Many(Shelf):
    """Several retrievers as one."""

    retrievers: Sequence[BaseRetriever] = ()


class Reranked(Shelf):
    """A retriever behind another one."""

    base_retriever: BaseRetriever
    base_compressor: Any = None


def store(**given: Any) -> BaseRetriever:
    """Return a vector store's retriever; by itself it returns 4."""
    made = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    made.add_documents([Document(f"text {i}", id=str(i)) for i in range(9)])
    return made.as_retriever(**given)


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: Shelf(), None),
        (lambda: Few(), 2),
        (lambda: store(), 4),
        (lambda: store(search_kwargs={"k": 7}), 7),
        (lambda: store(search_type="mmr", search_kwargs={"fetch_k": 20}), 4),
        (lambda: Many(retrievers=[Few(), store()]), 6),
        (lambda: Many(retrievers=[Few(), Shelf()]), None),
        (lambda: Reranked(base_retriever=store()), 4),
        (lambda: Reranked(base_retriever=store(), base_compressor=Few(top_k=3)), 3),
        (lambda: Reranked(base_retriever=Shelf(), base_compressor=Few(top_k=5)), 5),
    ],
)
def test_its_own_number_never_wins_in_silence(make: Any, number: int | None) -> None:
    retriever = make()
    searcher = LangChainSearcher(LangChain(factory="a:b"), retriever)
    assert searcher.most == number
    if number:
        searcher.search(["q"], number)
        with pytest.raises(
            ComponentError, match=rf"set to return at most {number} documents and {number + 1} are wanted"
        ):
            searcher.search(["q"], number + 1)


def test_a_spec_that_wants_more_than_the_retriever_returns_is_refused(corpus: JsonlPassages) -> None:
    few = LangChain(factory=TFIDF, corpus=corpus, kwargs={"k": 2})
    with pytest.raises(ComponentError, match=r"at most 2 passages, expected 3 \(environment\.top_k\)"):
        Search(retriever=few, top_k=3).open().searcher  # noqa: B018
    assert Search(retriever=few, top_k=2).open().searcher.search(["Place 7"], 2)


def test_a_number_that_cannot_be_seen_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    searcher = LangChainSearcher(ANY, Shelf(documents=[Document("one"), Document("two")]))
    searcher.search(["q"] * 15, 3)
    assert capsys.readouterr().err == ""
    searcher.search(["q"] * 40, 3)
    searcher.search(["q"] * 40, 3)
    said = "note: Shelf has returned 2 documents for each query so far, 3 are wanted: is it set to?\n"
    assert capsys.readouterr().err == said
    enough = LangChainSearcher(ANY, Shelf(documents=[Document("one"), Document("two")]))
    enough.search(["q"] * 40, 2)
    assert capsys.readouterr().err == ""


def test_documents_without_ids_are_told_apart_by_their_text() -> None:
    shelf = Shelf(documents=[Document("one"), Document("two"), Document("one")])
    (hits,) = LangChainSearcher(ANY, shelf).search(["q"], 5)
    assert [h.passage.text for h in hits] == ["one", "two"]
    assert len({h.passage.id for h in hits}) == 2


def test_an_outage_is_typed_and_says_nothing_of_the_address() -> None:
    searcher = LangChainSearcher(ANY, Shelf(error=ConnectionError("https://secret.example:9200 refused")))
    with pytest.raises(RetrieverUnavailable, match=r"Shelf could not search \(ConnectionError\)") as caught:
        searcher.search(["q"], 3)
    assert "secret" not in str(caught.value)


def test_a_mistake_in_the_retriever_stays_a_mistake() -> None:
    with pytest.raises(TypeError, match="mine"):
        LangChainSearcher(ANY, Shelf(error=TypeError("mine"))).search(["q"], 3)


@pytest.mark.parametrize("factory", ["nowhere.at.all:make", "json:nothing"])
def test_a_factory_that_is_not_there(factory: str) -> None:
    with pytest.raises(ComponentError, match="cannot be imported"):
        LangChain(factory=factory).open()


FACTORIES = """
from langchain_core.retrievers import BaseRetriever

called = []

class Mine(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []

    @classmethod
    def made(cls):
        return cls()

class Other:
    @classmethod
    def made(cls) -> "BaseRetriever":
        called.append("Other")

def promised() -> BaseRetriever:
    return Mine()

def precise() -> "Mine":
    return Mine()

def liar() -> BaseRetriever:
    return {}

def silent():
    called.append("silent")

def foreign() -> dict:
    called.append("foreign")

def unreadable() -> "Nowhere":
    called.append("unreadable")
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return what was called of the factories in a module of that name, though it should not have been."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("factories").called
    sys.modules.pop("factories")


@pytest.mark.parametrize("name", ["Mine", "Mine.made", "promised", "precise"])
def test_what_promises_a_retriever_is_called(factories: list[str], name: str) -> None:
    assert LangChain(factory=f"factories:{name}").open().search(["x"], 1) == [[]]
    assert LangChain(factory=f"factories:{name}").calls == (f"factories:{name}",)


@pytest.mark.parametrize(
    "factory",
    ["os:system", "builtins:dict", "builtins:print", "subprocess:run", "os.path:join"]
    + [f"factories:{name}" for name in ("Other.made", "silent", "foreign", "unreadable", "Other", "called.append")],
)
def test_nothing_else_is_called(factories: list[str], tmp_path: Path, factory: str) -> None:
    told = {"command": f"touch {tmp_path / 'made'}"} if factory == "os:system" else {}
    for looked_at in (LangChain.inspect, LangChain.open):
        with pytest.raises(ComponentError, match="is no BaseRetriever, no classmethod of one, and no function that"):
            looked_at(LangChain(factory=factory, kwargs=told))
    assert factories == []
    assert not (tmp_path / "made").exists()


def test_a_factory_that_makes_something_else(factories: list[str]) -> None:
    with pytest.raises(ComponentError, match="made a dict, expected a BaseRetriever"):
        LangChain(factory="factories:liar").open()


def test_reading_a_spec_imports_no_langchain() -> None:
    code = "import sys, sdsearch.envs.retrieval.langchain; assert not any('langchain_' in m for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.empty import Empty
from sdsearch.testing import check_retriever


def test_keeps_the_contract(corpus: JsonlPassages) -> None:
    check_retriever(Empty().open(), corpus.passages())


def test_nothing_is_found() -> None:
    assert Empty().open().search(["a", "b"], 3) == [[], []]

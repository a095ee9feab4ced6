from math import log

import pytest

from sdsearch.core.question import Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.bm25 import BM25, BM25Searcher
from sdsearch.testing import check_retriever


def test_keeps_the_contract(corpus: JsonlPassages) -> None:
    check_retriever(BM25(corpus=corpus).open(), corpus.passages())


def test_scores_by_hand() -> None:
    searcher = BM25Searcher(
        [Passage("a", "", "red red"), Passage("b", "", "red blue"), Passage("c", "", "Blue")], 1.2, 0
    )
    # b = 0: length does not count. idf = ln(1 + (N - n + 0.5) / (n + 0.5)) = ln(1.6) for a word in 2 of 3.
    twice, once = log(1.6) * 2 * 2.2 / (2 + 1.2), log(1.6)
    (hits,) = searcher.search(["red"], 3)
    assert {h.passage.id: h.score for h in hits} == pytest.approx({"a": twice, "b": once})
    (hits,) = searcher.search(["BLUE"], 3)
    assert {h.passage.id: h.score for h in hits} == pytest.approx({"b": once, "c": once})
    assert [h.passage.id for h in hits] == ["b", "c"]


def test_nothing_shared_is_nothing_found(corpus: JsonlPassages) -> None:
    assert BM25(corpus=corpus).open().search(["xylophone", "", "?"], 3) == [[], [], []]

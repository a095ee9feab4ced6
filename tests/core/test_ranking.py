"""Figures of a ranking: numbers by hand, and torchmetrics as an oracle."""

from math import log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import retrieval_normalized_dcg, retrieval_recall, retrieval_reciprocal_rank

from sdsearch.core.ranking import ndcg, recall, reciprocal_rank

RANKED = ("x", "a", "y", "b")


def test_by_hand() -> None:
    gold = ("a", "b", "far")
    assert [recall(RANKED, gold, k) for k in (1, 2, 4, 9)] == [0, 1 / 3, 2 / 3, 2 / 3]
    assert [reciprocal_rank(RANKED, gold, k) for k in (1, 2, 4)] == [0, 1 / 2, 1 / 2]
    # Of three the best order has gains of 1, 1 / log2(3) and 1 / 2; found are those of ranks 2 and 4.
    best = 1 + 1 / log2(3) + 1 / 2
    assert ndcg(RANKED, gold, 4) == pytest.approx((1 / log2(3) + 1 / log2(5)) / best)
    assert ndcg(RANKED, gold, 2) == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    assert ndcg(("a", "b", "far"), gold, 4) == 1


def test_a_gold_passage_that_is_named_twice_is_one() -> None:
    assert recall(("a",), ("a", "a", "b"), 1) == 1 / 2
    assert ndcg(("a", "b"), ("a", "a", "b"), 3) == 1


def test_nothing_found_is_nothing() -> None:
    assert recall((), ("a",), 3) == reciprocal_rank((), ("a",), 3) == ndcg((), ("a",), 3) == 0


@pytest.mark.parametrize("figure", [recall, reciprocal_rank, ndcg])
def test_without_gold_there_is_no_figure(figure: object) -> None:
    with pytest.raises(ValueError, match="got no gold passages"):
        figure(("a",), (), 3)  # type: ignore[operator]


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1), st.integers(1, 12))
def test_torchmetrics_says_the_same(order: list[int], gold: set[int], k: int) -> None:
    ranked, names = [str(i) for i in order], [str(i) for i in gold]
    scores = torch.tensor([12.0 - order.index(i) for i in range(12)])
    target = torch.tensor([i in gold for i in range(12)])
    for ours, theirs in (
        (recall, retrieval_recall),
        (reciprocal_rank, retrieval_reciprocal_rank),
        (ndcg, retrieval_normalized_dcg),
    ):
        assert ours(ranked[:k], names, k) == pytest.approx(float(theirs(scores, target, top_k=k)), abs=1e-6)

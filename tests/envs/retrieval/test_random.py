from collections import Counter

from sdsearch.core.question import Passage
from sdsearch.envs.data.jsonl import JsonlPassages
from sdsearch.envs.retrieval.random import Random, RandomSearcher
from sdsearch.testing import check_retriever

LETTERS = [Passage(letter, letter, "") for letter in "abcdefghij"]


def ids(query: str, k: int, seed: int = 0) -> list[str]:
    return [h.passage.id for h in RandomSearcher(LETTERS, seed).search([query], k)[0]]


def test_keeps_the_contract(corpus: JsonlPassages) -> None:
    check_retriever(Random(corpus=corpus).open(), corpus.passages())


def test_a_query_is_dealt_the_same_again_and_more_for_a_larger_k() -> None:
    assert ids("x", 3) == ids("x", 10)[:3]
    assert sorted(ids("x", 99)) == list("abcdefghij")
    assert ids("x", 0) == []
    assert len({tuple(ids("x", 10, seed)) for seed in range(20)}) == 20
    assert len({tuple(ids(f"{n}", 10)) for n in range(20)}) == 20


def test_every_passage_is_as_likely_in_every_place() -> None:
    """3,000 queries, 300 expected in each cell: 60 is 3.7 standard deviations, over 30 cells."""
    drawn = [ids(f"query {n}", 3) for n in range(3000)]
    for place in range(3):
        counts = Counter(row[place] for row in drawn)
        assert all(abs(counts[letter] - 300) < 70 for letter in "abcdefghij"), counts


def test_what_is_asked_does_not_matter() -> None:
    """A title finds its own passage as often as any other would be found: 1 in 10."""
    hits = sum(ids(f"{letter}{n}"[:1] + " " * n, 1) == [letter] for letter in "abcdefghij" for n in range(200))
    assert abs(hits - 200) < 60  # 4.5 standard deviations


def test_its_fingerprint_names_corpus_and_seed() -> None:
    prints = [RandomSearcher(p, s).fingerprint for p, s in ((LETTERS, 0), (LETTERS, 1), (LETTERS[1:], 0))]
    assert len(set(prints)) == 3
    assert RandomSearcher(LETTERS, 0).fingerprint == prints[0]

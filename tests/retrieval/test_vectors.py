import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Passage
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.retrieval import corpora, vectors

texts = st.tuples(st.text(), st.text(), st.text())


@settings(deadline=None)
@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_corpora_share_a_fingerprint_only_when_ids_and_contents_agree(
    one: list[tuple[str, str, str]], two: list[tuple[str, str, str]]
) -> None:
    passages = [Passage(*p) for p in one], [Passage(*p) for p in two]
    same = [(p.id, p.contents) for p in passages[0]] == [(p.id, p.contents) for p in passages[1]]
    assert (corpora.fingerprint(passages[0]) == corpora.fingerprint(passages[1])) == same


def test_parts_of_a_key_do_not_run_together() -> None:
    assert corpora.key("ab", "c") != corpora.key("a", "bc")
    assert corpora.key("ab", "c") == corpora.key("ab", "c") != corpora.key("c", "ab")


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_does_not_change_the_vectors(batch_size: int) -> None:
    passages = [Passage(str(i), f"title {i}", "text") for i in range(7)]
    encoder = Hashing(dim=16).open()
    expected = encoder.encode_passages([p.contents for p in passages])
    assert np.array_equal(vectors.embed(passages, encoder, None, batch_size), expected)

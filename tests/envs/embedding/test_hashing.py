import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.envs.embedding.hashing import Hashing


@settings(deadline=None)
@given(st.lists(st.text(), max_size=5))
def test_vectors_are_unit_and_do_not_depend_on_the_batch(texts: list[str]) -> None:
    encoder = Hashing(dim=64).open()
    batch = encoder.encode_queries(texts)
    assert batch.shape == (len(texts), 64) and batch.dtype == np.float32
    assert np.allclose(np.linalg.norm(batch, axis=1), 1, atol=1e-6)
    for text, row in zip(texts, batch, strict=True):
        assert np.array_equal(encoder.encode_passages([text])[0], row)


def test_spelling_is_what_counts() -> None:
    query, near, far = Hashing().open().encode_queries(["Ports of Norway", "A norwegian PORT", "Deserts in Chad"])
    assert query @ near > 0.3 > query @ far


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from sdsearch.envs.embedding import hashing as h; print(h.Hashing().open().encode_queries(['Łódź']).tobytes())"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == repr(Hashing().open().encode_queries(["Łódź"]).tobytes())


def test_the_fingerprint_names_the_sizes() -> None:
    prints = {Hashing(dim=d, ngram=n).open().fingerprint for d in (64, 128) for n in (3, 4)}
    assert len(prints) == 4

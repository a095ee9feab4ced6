"""How far the policy is from the one that sampled: by hand, in parts, and with what is no number."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.learning import drift
from sdsearch.learning.drift import Drift
from sdsearch.testing import VOCABULARY, example_table


def seen(logits: torch.Tensor, token: torch.Tensor, then: torch.Tensor) -> dict[str, float]:
    """Return the figures of one part."""
    one = Drift()
    one.see(logits, token, then)
    return one.figures()


def test_by_hand() -> None:
    # p now 0.75 and 0.5, then 0.5 and 1: ratios 1.5 and 0.5, (1.5 + 0.5)^2 / (2 * (2.25 + 0.25)) = 0.8.
    figures = seen(torch.tensor([[log(3), 0.0], [0.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([log(0.5), 0.0]))
    assert figures == pytest.approx(
        {
            "drift_mean": log(3) / 2,
            "drift_max": log(2),
            "effective_share": 0.8,
        },
        abs=1e-6,
    )


def test_the_sampler_itself_has_not_moved() -> None:
    rows = example_table()
    logits = torch.randn(len(rows), VOCABULARY, generator=torch.Generator().manual_seed(0))
    same = logits.log_softmax(1).gather(1, rows.token[:, None])[:, 0]
    figures = seen(logits, rows.token, same)
    assert figures["drift_max"] < 1e-5
    assert figures["effective_share"] == pytest.approx(1)


@given(st.sets(st.integers(1, 40), max_size=4), st.integers(1, 50))
def test_parts_add_up(cuts: set[int], chunk: int) -> None:
    rows = example_table()
    logits = torch.randn(len(rows), VOCABULARY, generator=torch.Generator().manual_seed(0))
    whole, total = seen(logits, rows.token, rows.sampler_logprob), Drift()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "ROWS", chunk)
        for index in torch.arange(len(rows)).tensor_split(sorted(cuts)):
            part = Drift()
            part.see(logits[index], rows.token[index], rows.sampler_logprob[index])
            total.add(part)
    assert total.rows == len(rows)
    assert total.figures() == pytest.approx(whole, rel=1e-5)


def test_a_nan_is_not_lost() -> None:
    total = Drift()
    for first in (torch.nan, 0.0):
        total.see(torch.tensor([[first, 0.0]]), torch.tensor([0]), torch.tensor([-1.0]))
    assert all(value != value for value in total.figures().values())


def test_no_rows() -> None:
    assert Drift().figures() == {}

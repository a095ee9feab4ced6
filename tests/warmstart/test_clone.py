"""Cloning: rows that read as an episode does, and batches that keep to the budget."""

import random

import pytest

from sdsearch.policy.policy import Policy
from sdsearch.warmstart.clone import Row, batches, rate, row
from sdsearch.warmstart.lessons import READ, WRITTEN, Piece
from sdsearch.warmstart.spec import Cloning


def test_a_row_weighs_what_is_written_and_what_is_read(tiny: Policy) -> None:
    lesson = [Piece("Question: x?\n", READ), Piece("<search> y </search>", WRITTEN), Piece("\n\nz", READ)]
    made = row(tiny, lesson, 0.25)
    assert tiny.codec.decode(made.tokens) == "Question: x?\n<search> y </search>\n\nz"
    assert set(made.weights) == {1.0, 0.25}
    assert made.weights[-1] == 0.25
    own = tiny.codec.decode([t for t, w in zip(made.tokens, made.weights, strict=True) if w == 1])
    assert own == "<search> y </search>"


def test_batches_keep_to_the_budget_and_hold_every_row() -> None:
    dice = random.Random(0)
    data = [Row((1,) * n, (1.0,) * n) for n in (dice.randint(5, 60) for _ in range(100))]
    found = batches(data, Cloning(tokens_per_batch=200), 0)
    assert sorted(i for b in found for i in b) == [*range(100)]
    assert max(len(b) * max(len(data[i].tokens) for i in b) for b in found) <= 200


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [rate(step, 100, 0.4) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:61] == [1.0] * 56
    assert rates[80] == pytest.approx(0.5)
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert 0 < rates[99] < 0.01
    assert rate(99, 100, 0.0) == 1.0

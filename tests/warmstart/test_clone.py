"""Cloning: rows that read as an episode does, and batches that keep to the budget."""

import random

from sdsearch.policy.policy import Policy
from sdsearch.warmstart.clone import Row, batches, row
from sdsearch.warmstart.lessons import READ, SKIPPED, WRITTEN, Piece
from sdsearch.warmstart.spec import Cloning


def test_a_row_weighs_what_is_written_and_what_is_read(tiny: Policy) -> None:
    lesson = [Piece("Question: x?\n", READ), Piece("<search> y </search>", WRITTEN), Piece("\n\nz", SKIPPED)]
    made = row(tiny, lesson, 0.25)
    assert tiny.codec.decode(made.tokens) == "Question: x?\n<search> y </search>\n\nz"
    assert set(made.weights) == {1.0, 0.25, 0.0}
    assert made.weights[-1] == 0
    own = tiny.codec.decode([t for t, w in zip(made.tokens, made.weights, strict=True) if w == 1])
    assert own == "<search> y </search>"


def test_batches_keep_to_the_budget_and_hold_every_row() -> None:
    dice = random.Random(0)
    data = [Row((1,) * n, (1.0,) * n) for n in (dice.randint(5, 60) for _ in range(100))]
    found = batches(data, Cloning(tokens_per_batch=200), 0)
    assert sorted(i for b in found for i in b) == [*range(100)]
    assert max(len(b) * max(len(data[i].tokens) for i in b) for b in found) <= 200

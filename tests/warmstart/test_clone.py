"""Cloning: rows that read as an episode does, and batches that keep to the budget."""

import copy
import random

import pytest
import torch

from sdsearch.policy.policy import Policy
from sdsearch.terminal.progress import Bars
from sdsearch.warmstart.clone import Row, batches, clone, halves, rate, row
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


def test_a_batch_loses_what_its_rows_lose_alone(tiny: Policy) -> None:
    dice = random.Random(1)
    tokens = [tuple(dice.randrange(1, 200) for _ in range(n)) for n in (3, 17, 30)]
    data = [Row(t, tuple(dice.random() for _ in t)) for t in tokens]
    policy = Policy(copy.deepcopy(tiny.model), tiny.codec)
    # So that it is sure of some tokens and not of others, and padding would be seen.
    policy.model.get_output_embeddings().weight.data *= 20
    lost = weight = 0.0
    for each in data:
        ids = torch.tensor([each.tokens])
        with torch.no_grad():
            logprobs = policy.model(input_ids=ids).logits[0].log_softmax(-1)
        for place in range(1, len(each.tokens)):
            lost -= each.weights[place] * logprobs[place - 1, each.tokens[place]].item()
            weight += each.weights[place]
    with Bars() as bars:
        losses = clone(policy, [data], Cloning(tokens_per_batch=90), 0, bars)
    assert losses == [pytest.approx(lost / weight, rel=2e-2 if halves(policy.device) else 1e-5)]


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [rate(step, 100, 0.4) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:61] == [1.0] * 56
    assert rates[80] == pytest.approx(0.5)
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert 0 < rates[99] < 0.01
    assert rate(99, 100, 0.0) == 1.0

from collections.abc import Callable
from dataclasses import replace
from math import log

import pytest
import torch

from sdsearch.contracts.loss import LossInput
from sdsearch.objectives.terms.llds import LLDS
from sdsearch.testing import check_term, example_table

MakeRows = Callable[..., LossInput]


@pytest.mark.parametrize("term", [LLDS(), LLDS(gate="trajectory", weight=1.0)])
def test_contract(term: LLDS) -> None:
    check_term(term)


def test_the_mean_is_over_what_was_ever_credited() -> None:
    table = example_table()
    assert LLDS().select(table, 0).rows.tolist() == (~table.advantage.isnan()).tolist()


def in_turns(rows: LossInput, *turns: int) -> LossInput:
    return rows._replace(table=replace(rows.table, turn=torch.tensor(turns)))


def test_only_tokens_that_fell_in_actions_that_fell(rows_of: MakeRows) -> None:
    """Turn 0 falls by ln 4 and rises by ln 2: held where it fell. Turn 1 falls by ln 2, rises by ln 4: left alone."""
    rows = in_turns(rows_of([0.1, 0.4, 0.1, 0.8], [0.4, 0.2, 0.2, 0.2], [1.0, 0.0, 1.0, 1.0]), 0, 0, 1, 1)
    loss, metrics = LLDS().loss(rows)
    assert loss.tolist() == pytest.approx([log(4), 0, 0, 0], rel=1e-5)
    assert metrics["held"].tolist() == [1, 1, 0, 0]
    (found,) = torch.autograd.grad(loss.sum(), rows.logits)
    assert found[:, 0].tolist() == pytest.approx([-0.9, 0, 0, 0], rel=1e-5)  # descent raises the token that fell


def test_an_action_is_one_turn_of_one_trajectory(rows_of: MakeRows) -> None:
    """Two trajectories of two turns of a token: the first of one and the last of the other fall by ln 2, two rise."""
    rows = in_turns(rows_of([0.1, 0.8, 0.8, 0.1], [0.2] * 4, [1.0] * 4), 0, 1, 0, 1)
    rows = rows._replace(table=replace(rows.table, trajectory=torch.tensor([0, 0, 1, 1])))
    assert LLDS().loss(rows).loss.tolist() == pytest.approx([log(2), 0, 0, log(2)])
    assert LLDS(gate="trajectory").loss(rows).loss.tolist() == [0, 0, 0, 0]


def test_the_gate_of_the_trajectory(rows_of: MakeRows) -> None:
    """Altogether it falls by ln 4 + ln 2 and rises by ln 2 + ln 2, so that both tokens that fell are held."""
    rows = in_turns(rows_of([0.1, 0.4, 0.1, 0.4], [0.4, 0.2, 0.2, 0.2], [1.0] * 4), 0, 0, 1, 1)
    assert LLDS(gate="trajectory").loss(rows).loss.tolist() == pytest.approx([log(4), 0, log(2), 0], rel=1e-5)
    assert LLDS().loss(rows).loss.tolist() == pytest.approx([log(4), 0, 0, 0], rel=1e-5)


def test_what_deserves_blame_may_fall(rows_of: MakeRows) -> None:
    """A token to blame is neither held nor counted: without its fall by ln 8 the action has risen."""
    rows = rows_of([0.05, 0.1, 0.8], [0.4, 0.2, 0.2], [-1.0, 1.0, 1.0])
    assert LLDS().loss(rows).loss.tolist() == [0, 0, 0]
    assert LLDS().loss(rows_of([0.05, 0.1], [0.4, 0.2], [-1.0, 0.0])).loss.tolist() == pytest.approx([0, log(2)])


def test_a_fall_within_rounding_is_none(rows_of: MakeRows) -> None:
    """Down by 2 / 10,000: above a threshold of 1e-4 only."""
    rows = rows_of([0.49995, 0.49995], [0.5, 0.5])
    assert LLDS(threshold=1e-4).loss(rows).loss.tolist() == pytest.approx([1e-4, 1e-4], rel=1e-2)
    (found,) = torch.autograd.grad(LLDS().loss(rows).loss.sum(), rows.logits)
    assert not found.any()

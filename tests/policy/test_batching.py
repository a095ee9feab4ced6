"""Runs of items: all of them, in order, and none longer than the budget unless it holds a single one."""

from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.policy.batching import PRICE, SHARED, beginning, of_like_length, packed, pad, row_batches


@given(st.lists(st.integers(0, 50)), st.integers(1, 120))
def test_runs_keep_order_and_budget(lengths: list[int], budget: int) -> None:
    runs = list(packed(enumerate(lengths), lambda item: item[1], budget))
    assert [item for run in runs for item in run] == list(enumerate(lengths))
    assert all(run for run in runs)
    for run, following in zip(runs, [*runs[1:], []] if runs else [], strict=True):
        longest = max(length for _, length in run)
        assert len(run) == 1 or len(run) * longest <= budget
        if following:  # as many as fit
            assert (len(run) + 1) * max(longest, following[0][1]) > budget


def test_rows_count_with_their_prompt() -> None:
    rows = [((1, 2), (3,), [0]), ((1,), (2,), [0]), ((1,), (2, 3), [1])]
    assert list(row_batches(rows, 6)) == [rows[:2], rows[2:]]


@given(st.lists(st.integers(0, 900), max_size=7))
def test_runs_of_like_length_cost_the_least(lengths: list[int]) -> None:
    def cost(runs: list[list[int]]) -> int:
        return sum(len(run) * max(lengths[i] for i in run) + PRICE for run in runs)

    def partitions(rest: list[int]) -> Iterator[list[list[int]]]:
        if not rest:
            yield []
        for runs in partitions(rest[1:]) if rest else ():
            yield [[rest[0]], *runs]
            for at in range(len(runs)):
                yield [*runs[:at], [rest[0], *runs[at]], *runs[at + 1 :]]

    runs = of_like_length(lengths)
    assert sorted(i for run in runs for i in run) == list(range(len(lengths)))
    assert cost(runs) == min(map(cost, partitions(list(range(len(lengths))))))


def test_a_long_sequence_is_run_apart_from_short_ones() -> None:
    assert of_like_length([20, 600, 30, 20]) == [[0, 3, 2], [1]]
    assert of_like_length([20, 60, 30, 20]) == [[0, 3, 2, 1]]


def test_ragged_rows_are_padded_on_the_right() -> None:
    tokens, mask = pad([(5, 6), (), (7,)], torch.device("cpu"))
    assert tokens.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert mask.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_a_beginning_is_what_all_rows_have_and_go_on_from() -> None:
    long = tuple(range(SHARED))
    assert beginning([(*long, 1, 2), (*long, 1, 3), (*long, 1)]) == long
    assert beginning([(*long, 1, 2), (*long, 1, 3), (*long, 2)]) == long
    assert beginning([(*long, 1, 2), (*long, 1, 3)]) == (*long, 1)
    assert beginning([(*long, 1), (*long[1:], 1, 2)]) == ()
    assert beginning([(*long, 1), long]) == (), "a row would have nothing left to run"
    assert beginning([(*long, 1)]) == beginning([]) == ()

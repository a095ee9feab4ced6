"""The contracts refuse what they are meant to refuse."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdsearch.objective import Credit, Hint, Rows, Selection, Term, Values, whole
from sdsearch.testing import check_credit, check_hint, check_term
from sdsearch.tokens import TokenTable
from sdsearch.trajectory import Group

calls = count()


class CountsLost(Credit):
    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, float(len(group.trajectories))) for t in group.kept]


class Short(Credit):
    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        return [np.zeros(1) for _ in group.kept]


class Endless(Credit):
    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, np.inf) for t in group.kept]


class Fickle(Credit):
    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, next(calls)) for t in group.kept]


@pytest.mark.parametrize(
    ("credit", "message"),
    [
        (CountsLost(), "beside a lost episode"),
        (Short(), "got arrays of shapes"),
        (Endless(), "got an infinite credit"),
        (Fickle(), "got other credits the second time"),
    ],
)
def test_check_credit(credit: Credit, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_credit(credit)


class PerEpisode(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [["hint"] * len(g.trajectories) for g in groups]


class Empty(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [[""] * len(g.kept) for g in groups]


class Moody(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [[f"hint {next(calls)}"] * len(g.kept) for g in groups]


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (PerEpisode(), r"got \[4, 2, 1, 2, 2\] hints"),
        (Empty(), "expected a text that is not empty"),
        (Moody(), "got other hints for the same seed"),
    ],
)
def test_check_hint(hint: Hint, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_hint(hint)


class Faulty(Term):
    fault: str

    def select(self, table: TokenTable, seed: int) -> Selection:
        none = torch.zeros_like(table.token, dtype=torch.bool)
        if self.fault == "fickle":
            none[next(calls) % max(1, len(none)) :] = True
            return Selection(none)
        return Selection(none if self.fault == "idle" else ~none)

    def values(self, rows: Rows) -> Values:
        loss = rows.logprob
        match self.fault:
            case "mixes":
                loss = loss + loss.mean()
            case "sums":
                loss = loss.sum()
            case "overflows":
                loss = (-loss).exp()
            case "detached":
                loss = loss.detach()
            case "flat":
                loss = loss * 0
        return Values(loss, {})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mixes", "alone and .* among others"),
        ("sums", r"got loss of shape \(\)"),
        ("overflows", "not finite for logits of size 10000"),
        ("detached", "got a loss without gradient"),
        ("flat", "got a gradient of zero"),
        ("idle", "got no row of the example table"),
        ("fickle", "got other rows for the same seed"),
    ],
)
def test_check_term(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_term(Faulty(fault=fault))


def test_check_term_accepts_a_sound_one() -> None:
    check_term(Faulty(fault=""))

"""A number of any library counts; texts, nothing, many numbers, and what float32 cannot hold do not."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from sdsearch.core.number import number, shown


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, Fraction(3, 2), Decimal("1.5"), np.float32(1.5), np.float16(1.5), np.array(1.5), np.array([1.5])),
        *(torch.tensor(1.5), torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor(1.5, requires_grad=True)),
    ],
)
def test_what_is_a_number(value: Any) -> None:
    found = number(value)
    assert type(found) is float
    assert found == 1.5


def test_whole_numbers_and_truth_are_numbers() -> None:
    assert [number(v) for v in (0, -3, True, np.int64(7), torch.tensor(False), 3.4e38)] == [0, -3, 1, 7, 0, 3.4e38]


@pytest.mark.parametrize(
    "value",
    [
        *(None, "1.0", b"1", [1.0], (), {}, object, 1j, float("nan"), float("inf"), 1e39, 1e300, -1e300, 10**400),
        *(np.array([1.0, 2.0]), np.array([]), np.array(["1.0"]), np.float64("nan"), torch.tensor([1.0, 2.0])),
        *(torch.tensor([]), torch.empty(1, device="meta"), Decimal("1e400"), Decimal("sNaN"), np.array([None])),
    ],
)
def test_what_is_none(value: Any) -> None:
    assert number(value) is None


def test_anything_can_be_shown() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    assert [shown("ab"), shown(10**5000), shown(Shy())] == [
        "'ab'",
        "a int that cannot be shown",
        "a Shy that cannot be shown",
    ]
    assert len(shown("x" * 1000)) == 80

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.contracts.credit import Probe
from sdsearch.crediting.per_turn import whitened


def test_by_hand_and_without_what_was_never_credited() -> None:
    """1, 2 and 3: mean 2, unbiased deviation 1."""
    first, second = whitened([np.array([1.0, np.nan, 3.0]), np.array([2.0])], Probe())
    np.testing.assert_allclose(first, [-1, np.nan, 1], atol=1e-6)
    assert second.tolist() == [0]


@pytest.mark.parametrize("values", [[], [0.1], [0.1] * 3, [np.nan]])
def test_no_contrast_is_no_signal(values: list[float]) -> None:
    (found,) = whitened([np.array(values, np.float64)], Probe())
    np.testing.assert_array_equal(found, np.array(values, np.float64) * 0)
    assert whitened([], Probe()) == []


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(0.5, 3), st.floats(-2, 2))
def test_scale_and_shift_do_not_matter(values: list[float], scale: float, shift: float) -> None:
    if max(values) - min(values) > 1e-2:
        (found,) = whitened([np.array(values)], Probe())
        assert found.mean() == pytest.approx(0, abs=1e-9)
        (moved,) = whitened([np.array(values) * scale + shift], Probe())
        assert moved == pytest.approx(found, abs=1e-4)

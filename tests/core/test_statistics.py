"""Intervals and p values: numbers by hand, other people's tests, censored values, one seed."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from sdsearch.core.statistics import LEVEL, Estimate, average, estimate, holm, jackknife, mean, p_value, ratio, share


def test_two_values_by_hand() -> None:
    # Of four equally likely resamples one has the mean 0 and one the mean 1: 25 % each, far beyond 2.5 %.
    assert estimate([0.0, 1.0]) == (0.5, 0.0, 1.0)


def test_eight_values_by_hand() -> None:
    # One value of 8 is 1: the sum of a resample is binomial(8, 1/8). P(0) = 0.344; P(<= 3) = 0.989, P(<= 2) = 0.932.
    assert estimate([1.0] + [0.0] * 7) == (0.125, 0.0, 0.375)


def test_one_seed_has_no_interval_and_none_is_refused() -> None:
    assert estimate([0.7]) == (0.7, None, None)
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_a_censored_value_is_later_than_all_others() -> None:
    value, low, high = estimate([20.0, 40.0, math.inf], np.median)
    assert (value, low, high) == (40.0, 20.0, math.inf)
    assert estimate([20.0, math.inf], np.median).value == math.inf
    assert estimate([math.inf, math.inf], np.median) == (math.inf, math.inf, math.inf)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(-1, 1))
def test_it_holds_the_estimate_repeats_and_moves_along(values: list[float], shift: float) -> None:
    value, low, high = estimate(values)
    assert low is not None
    assert high is not None
    assert min(values) - 1e-9 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= max(values) + 1e-9
    assert estimate(values) == (value, low, high)
    moved = estimate([v + shift for v in values])
    assert moved == pytest.approx((value + shift, low + shift, high + shift), abs=1e-9)


def test_it_covers_what_it_says_with_many_seeds() -> None:
    dice = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        _, low, high = estimate(dice.normal(size=30).tolist())
        assert low is not None
        assert high is not None
        hits += low <= 0 <= high
    assert 52 <= hits < 60


@pytest.mark.parametrize(("count", "coverage"), [(3, 0.75), (5, 0.9375)])
def test_the_coverage_of_a_median_with_few_seeds(count: int, coverage: float) -> None:
    """From the least to the greatest, which misses where all seeds fall on one side of the true median."""
    values = [float(i * i) for i in range(count)]
    assert estimate(values, np.median)[1:] == (0.0, values[-1])
    assert 1 - 2 * 0.5**count == coverage


def test_a_ratio_by_hand() -> None:
    # 8 / 4 = 2; residuals 1 - 2, 4 - 4, 3 - 2: their squares sum to 2, times 3 / 2, over 4 squared; t of 2 is 4.303.
    value, low, high = ratio([1.0, 4.0, 3.0], [1.0, 2.0, 1.0])
    half = 4.302652729911275 * math.sqrt(3) / 4
    assert (value, low, high) == pytest.approx((2.0, 2 - half, 2 + half))
    assert ratio([1.0, 4.0, 3.0, 0.0], [1.0, 2.0, 1.0, 0.0]) == (value, low, high)
    assert ratio([3.0], [2.0]) == (1.5, None, None)
    assert math.isnan(ratio([0.0], [0.0]).value)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_a_mean_has_the_interval_of_a_t_test(values: list[float]) -> None:
    assume(np.ptp(values) > 0.01)  # theirs is not to be trusted with numbers that are all alike
    found = mean(values)
    theirs = ttest_1samp(values, 0.0).confidence_interval()
    assert found == pytest.approx((float(np.mean(values)), theirs.low, theirs.high), abs=1e-9)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_the_jackknife_of_a_mean_is_its_t_interval(values: list[float]) -> None:
    assume(np.ptp(values) > 0.01)
    without = [float(np.mean(values[:i] + values[i + 1 :])) for i in range(len(values))]
    assert jackknife(float(np.mean(values)), without) == pytest.approx(mean(values), abs=1e-7)


def test_a_jackknife_needs_two_numbers() -> None:
    assert jackknife(0.5, [0.4, math.nan]) == (0.5, None, None)
    assert math.isnan(jackknife(math.nan, [0.1, 0.2]).value)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_a_p_value_is_that_of_a_t_test(values: list[float]) -> None:
    assume(np.ptp(values) > 0.01)
    assert p_value(values) == pytest.approx(float(ttest_1samp(values, 0.0).pvalue), abs=1e-9)


def test_a_p_value_without_spread() -> None:
    assert (p_value([0.2, 0.2]), p_value([0.0, 0.0])) == (0.0, 1.0)
    assert math.isnan(p_value([0.2]))


def test_holm_by_hand() -> None:
    # 0.01 * 3; 0.02 * 2 = 0.04; 0.03 * 1, which may not be below the one before it.
    assert holm([0.02, math.nan, 0.01, 0.03]) == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_makes_none_smaller_the_smallest_bonferroni_s_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= a <= 1.0 for p, a in zip(ps, adjusted, strict=True))
    assert adjusted[int(np.argmin(ps))] == pytest.approx(min(1.0, min(ps) * len(ps)))
    order = np.argsort(ps, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_a_share_by_hand_and_as_scipy_has_it() -> None:
    # None of 20: 0 to z^2 / (20 + z^2), with z = 1.96.
    assert share([0.0] * 20) == pytest.approx((0.0, 0.0, 0.16113), abs=1e-5)
    for ones, count in ((1, 1), (3, 7), (50, 100), (125, 125)):
        expected = binomtest(ones, count).proportion_ci(LEVEL, "wilson")
        assert share([1.0] * ones + [0.0] * (count - ones)) == pytest.approx(
            (ones / count, expected.low, expected.high)
        )
    assert math.isnan(share([]).value)


def test_an_average_puts_intervals_together() -> None:
    one, two = Estimate(0.5, 0.4, 0.7), Estimate(0.3, 0.2, 0.4)
    # Distances of 0.1 and 0.1 below, of 0.2 and 0.1 above, each counted half.
    assert average([one, two]) == pytest.approx((0.4, 0.4 - 0.02**0.5 / 2, 0.4 + 0.05**0.5 / 2))
    assert average([one, Estimate(math.nan, None, None)]) == pytest.approx(one)
    assert average([one, Estimate(0.3, None, None)]) == (0.4, None, None)
    assert math.isnan(average([]).value)


def test_an_average_covers_what_it_says() -> None:
    """Of shares of unlike size, one of them near 0: the true mean is outside in about one of twenty draws."""
    dice, truth, outside = np.random.default_rng(0), (0.05, 0.5, 0.4), 0
    for _ in range(2000):
        drawn = [share((dice.random(n) < p).astype(float).tolist()) for n, p in zip((60, 30, 125), truth, strict=True)]
        value = average(drawn)
        assert value.low is not None and value.high is not None
        outside += not value.low <= sum(truth) / 3 <= value.high
    assert 0.035 < outside / 2000 < 0.065

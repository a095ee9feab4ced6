import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment, Trajectory
from sdsearch.crediting.per_turn import by_group, by_trajectory, by_turn, means, per_turn, pooled, scaled, surprise
from sdsearch.testing import example_groups, example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def test_parts_by_group() -> None:
    """The example groups keep 3, 2, 1, 0 and 2 trajectories."""
    pairs = list(by_group(example_groups(), range(8)))
    assert [parts for _, parts in pairs] == [[0, 1, 2], [3, 4], [5], [], [6, 7]]
    assert [group for group, _ in pairs] == example_groups()
    for wrong in (range(7), range(9)):
        with pytest.raises(ValueError, match=f"got {len(wrong)} parts, expected one for each of 8 kept trajectories"):
            list(by_group(example_groups(), wrong))


def test_numbers_by_trajectory() -> None:
    played = [example_trajectory(QUESTION, [("search", "a")] * turns, 1) for turns in (2, 0, 1)]
    assert [part.tolist() for part in by_trajectory(played, [1, 2, 3])] == [[1, 2], [], [3]]
    assert by_trajectory([], []) == []
    for wrong in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match=f"got {len(wrong)} numbers, expected one for each of 3 turns"):
            by_trajectory(played, wrong)


def test_numbers_per_turn() -> None:
    """Turns of four and five tokens."""
    played = example_trajectory(QUESTION, [("search", "a"), ("answer", "b c")], 1)
    assert per_turn(played, [2, 3]).tolist() == [2] * 4 + [3] * 5
    assert [part.tolist() for part in by_turn(played, np.arange(9.0))] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=f"got {len(wrong)} numbers, expected one for each of 2 turns"):
            per_turn(played, wrong)


def test_means() -> None:
    """Turns of four and five tokens."""
    played = example_trajectory(QUESTION, [("search", "a"), ("answer", "b c")], 1)
    values = np.array([1, 2, 3, 6, 0, 0, 5, 5, 10], np.float64)
    assert means(played, values).tolist() == [3, 4]
    assert means(played, values, 2).tolist() == [1.5, 0]
    values[0] = np.nan
    assert means(played, values) == pytest.approx([np.nan, 4], nan_ok=True)
    logprobs = np.array([p for s in played.segments for p in s.logprobs])
    assert surprise(played) == pytest.approx([-logprobs[:4].mean(), -logprobs[4:].mean()])


def test_a_turn_without_tokens_has_no_mean() -> None:
    scripted = Trajectory(QUESTION, (Segment("prompt", "p"), Segment("model", "x")), (), "max_turns", 0)
    assert np.isnan(means(scripted, np.empty(0))).tolist() == [True]
    assert means(example_trajectory(QUESTION, [], 0), np.empty(0)).tolist() == []


def test_scaled() -> None:
    """The root mean square of 3, -3 and 3 is 3, the zero left out: it would be 2.6 with it. Signs stay."""
    one, none, two = scaled([np.array([3.0, 0.0]), np.empty(0), np.array([-3.0, 3.0])])
    assert (one.tolist(), none.tolist()) == ([pytest.approx(1, rel=1e-5), 0], [])
    assert two.tolist() == pytest.approx([-1, 1], rel=1e-5)
    assert scaled([np.zeros(2)])[0].tolist() == [0, 0]
    assert scaled([np.array([3.0, 0.0])], eps=1)[0].tolist() == [0.75, 0]


def test_pooled() -> None:
    """1, 2 and 3 have the mean 2 and the deviation 1; NaN takes no part."""
    one, none, two = pooled([np.array([1.0, np.nan, 3.0]), np.empty(0), np.array([2.0])])
    assert one == pytest.approx([-1, np.nan, 1], rel=1e-5, nan_ok=True)
    assert (none.tolist(), two.tolist()) == ([], [0.0])
    assert pooled([]) == []


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-9, 9), max_size=4), min_size=1, max_size=5))
def test_pooled_numbers_sum_to_zero(parts: list[list[float]]) -> None:
    found = pooled([np.array(p, np.float64) for p in parts])
    assert [len(f) for f in found] == [len(p) for p in parts]
    assert sum(f.sum() for f in found) == pytest.approx(0, abs=1e-6)

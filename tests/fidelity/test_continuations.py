"""Continuations in lots: the same numbers, kept when interrupted, and bounded in memory."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdsearch.core.trajectory import Fork, Group
from sdsearch.errors import DataError
from sdsearch.fidelity import continuations
from sdsearch.fidelity.advantages import estimate
from sdsearch.fidelity.continuations import Continuations
from sdsearch.testing import example_groups

K = 4
PLAY: Any = SimpleNamespace(env_factory=None, session=None)


@pytest.fixture
def lots(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Play by lot, from the state alone; note how many states each lot has, and stop when that is asked for."""
    sizes: list[int] = []

    def play(env: Any, session: Any, forks: Sequence[Fork], k: int, seed: int, paired: bool) -> list[Group]:
        if len(sizes) == STOP.get("after", 99):
            raise KeyboardInterrupt
        sizes.append(len(forks))
        groups = []
        for fork in forks:
            dice = np.random.default_rng([seed, fork.turn, len(fork.trajectory.question.text)])
            whole = fork.trajectory
            ends = [type(whole)(whole.question, (), (), "answered", float(dice.uniform())) for _ in range(k)]
            groups.append(Group(whole.question, tuple(ends)))
        return groups

    monkeypatch.setattr(continuations, "continue_from", play)
    STOP.clear()
    return sizes


STOP: dict[str, int] = {}


def later(file: Path, seed: int = 5, at_once: int = 2 * K, weights: str = "w") -> Continuations:
    return Continuations(PLAY, K, seed, at_once, file, weights)


def test_what_was_interrupted_goes_on_with_the_same_numbers(tmp_path: Path, lots: list[int]) -> None:
    file, groups = tmp_path / "partial", example_groups()
    whole = estimate(groups, later(tmp_path / "other", at_once=10**6), K)
    assert len(lots) == 1
    states = lots.pop()
    STOP["after"] = 2
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        estimate(groups, later(file), K)
    assert len(file.read_text().splitlines()) == sum(lots) == 4
    STOP.clear()
    lots.clear()
    again = later(file)
    np.testing.assert_equal([t._asdict() for t in estimate(groups, again, K)], [t._asdict() for t in whole])
    assert (sum(lots), max(lots)) == (states - 4, 2)
    assert sum(len(g.trajectories) for g in again.played) == states * K
    again.done()
    assert not file.exists()


@pytest.mark.parametrize("other", [{"seed": 6}, {"weights": "v"}])
def test_what_another_run_has_played_is_not_taken(tmp_path: Path, lots: list[int], other: dict[str, Any]) -> None:
    groups = example_groups()
    estimate(groups, later(tmp_path / "partial"), K)
    before = sum(lots)
    estimate(groups, later(tmp_path / "partial", **other), K)
    assert sum(lots) == 2 * before


def test_a_damaged_line_is_played_again(tmp_path: Path, lots: list[int]) -> None:
    file, groups = tmp_path / "partial", example_groups()
    first = estimate(groups, later(file), K)
    raw = file.read_bytes()
    lines = raw.splitlines(keepends=True)
    # A digit of a reward is another one, a line was cut off, and one is nothing at all.
    at = lines[0].index(b"0.") + 3
    lines[0] = lines[0][:at] + bytes([lines[0][at] ^ 1]) + lines[0][at + 1 :]
    lines[1:3] = [b"\xff\x00 nothing\n", lines[2][:100] + b"\n"]
    file.write_bytes(b"".join(lines))
    lots.clear()
    np.testing.assert_equal([t._asdict() for t in estimate(groups, later(file), K)], [t._asdict() for t in first])
    assert sum(lots) == 3


def test_a_folder_that_cannot_be_written(tmp_path: Path, lots: list[int]) -> None:
    fork = Fork(example_groups()[0].trajectories[0], 0)
    with pytest.raises(DataError, match="partial cannot be written: "):
        later(tmp_path / "gone" / "partial")([fork], K)


def test_a_state_is_what_was_seen(tmp_path: Path) -> None:
    one, two = example_groups()[0].trajectories[:2]
    name = later(tmp_path / "x").key
    assert name(Fork(one, 0)) == name(Fork(two, 0)) != name(Fork(one, 1)) != name(Fork(two, 1))

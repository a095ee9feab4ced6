from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdsearch
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.crediting.per_turn import by_turn, surprise
from sdsearch.errors import SpecError
from sdsearch.objectives.credit.carl import CARL
from sdsearch.objectives.rollouts.critical import Critical
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.spec import load

MakePlay = Callable[..., EpisodeCollector]
Attempt = Callable[..., Trajectory]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")


def surprised(trajectory: Trajectory, *values: float) -> Trajectory:
    """Return the trajectory with -log p of each turn's tokens."""
    given = iter(values)
    segments = tuple(
        Segment("model", s.text, s.tokens, (-next(given),) * len(s.tokens), s.spans) if s.logprobs else s
        for s in trajectory.segments
    )
    return replace(trajectory, segments=segments)


def test_the_least_certain_states_fork_first(attempt: Attempt) -> None:
    """The question is one state, as uncertain as the less certain of the two actions taken there: 0.6."""
    one = surprised(attempt(0, SEARCH, SEARCH, ANSWER), 0.1, 0.9, 0.5)
    two = surprised(attempt(0, SEARCH, ANSWER), 0.6, 0.7)
    group = Group(one.question, (one, two))
    assert Critical().choose(group, 4) == [(0, 1), (1, 1), (0, 0), (0, 2)]
    assert Critical().choose(group, 7) == [(0, 1), (1, 1), (0, 0), (0, 2), (0, 1), (1, 1), (0, 0)]
    assert Critical().choose(Group(one.question, (replace(one, stop_reason="retriever_unavailable"),)), 2) == []


def test_forks_share_the_past_and_alone_are_credited(play_of: MakePlay) -> None:
    play = play_of(6)
    groups = Critical(initial=1).collect(play)
    assert play.usage.rollouts == 12
    for group in groups:
        first, *others = group.trajectories
        assert (first.branch, len(others)) == (None, 5)
        forked = [t.branch[1] for t in others if t.branch]
        order = np.argsort(-surprise(first))
        assert forked == [*order, order[0]]
        assert all(t.before(turn) == first.before(turn) for t, turn in zip(others, forked, strict=True))
        for t, credit in zip(group.kept, CARL().of_group(group), strict=True):
            turn = t.branch[1] if t.branch else 3
            assert [not np.isnan(part).any() for part in by_turn(t, credit)] == [n <= turn for n in range(4)]


def test_the_seed_decides(play_of: MakePlay) -> None:
    rollouts = Critical(initial=2)
    assert rollouts.collect(play_of(5)) == rollouts.collect(play_of(5)) != rollouts.collect(play_of(5, seed=6))


def test_it_objects_to_small_groups() -> None:
    path = Path(sdsearch.__file__).parent / "specs" / "methods" / "carl.yaml"
    with pytest.raises(SpecError, match=r"got initial: 4, expected at most train.group, which is 3"):
        load(path, ["train.group=3"])

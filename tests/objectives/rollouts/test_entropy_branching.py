from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import sdsearch
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.errors import SpecError
from sdsearch.objectives.rollouts.entropy_branching import EntropyBranching
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.spec import load

MakePlay = Callable[..., EpisodeCollector]
Attempt = Callable[..., Trajectory]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")


def test_certain_branching_fills_the_budget(play_of: MakePlay) -> None:
    """Two rollouts of three results each: both branch at the first result, one at the second, then all is spent."""
    play = play_of(5)
    for group in EntropyBranching(initial=2, base=1, weight=0).collect(play):
        assert [t.branch for t in group.trajectories] == [None, None, (0, 1), (1, 1), (0, 2)]
        for t in group.trajectories[2:]:
            assert t.branch is not None
            assert t.before(t.branch[1]) == group.trajectories[t.branch[0]].before(t.branch[1])
    assert play.usage.rollouts == 10


def test_what_has_branched_off_branches_again(play_of: MakePlay) -> None:
    groups = EntropyBranching(initial=1, base=1, weight=0).collect(play_of(8))
    assert [t.branch for t in groups[0].trajectories] == [
        None,
        *[(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (3, 3)],
    ]


def test_without_branches_the_rest_is_played_afresh(play_of: MakePlay) -> None:
    play = play_of(3)
    groups = EntropyBranching(initial=1, base=0, weight=0).collect(play)
    assert [[t.branch for t in g.trajectories] for g in groups] == [[None] * 3] * 2
    assert play.usage.rollouts == 6
    assert [t.question for t in groups[1].trajectories] == [play.questions[1]] * 3


def surprised(trajectory: Trajectory, *values: float) -> Trajectory:
    """Return the trajectory with -log p of each turn's tokens."""
    given = iter(values)
    segments = tuple(
        Segment("model", s.text, s.tokens, (-next(given),) * len(s.tokens), s.spans) if s.logprobs else s
        for s in trajectory.segments
    )
    return replace(trajectory, segments=segments)


def test_uncertainty_after_a_result_decides(attempt: Attempt) -> None:
    """With base 0 and weight 1, a rise of 1 nat branches always and none never; a notice is not a result."""
    turns = SEARCH, SEARCH, ANSWER
    rises = surprised(attempt(0, *turns), 0.5, 1.5, 0.5)
    notice = surprised(attempt(0, Turn("invalid", "no action"), *turns[1:]), 0.5, 1.5, 1.5)
    group = Group(rises.question, (rises, notice, replace(rises, stop_reason="retriever_unavailable")))
    rollouts = EntropyBranching(base=0, weight=1)
    assert [rollouts.choose(group, turn, Random(0)) for turn in (1, 2, 3)] == [[(0, 1)], [(1, 2)], []]


def test_a_shared_turn_is_looked_at_once(attempt: Attempt) -> None:
    one = attempt(0, SEARCH, SEARCH, ANSWER)
    group = Group(one.question, (one, replace(one, branch=(0, 1))))
    assert EntropyBranching(base=1, weight=0).choose(group, 1, Random(0)) == [(0, 1)]
    assert EntropyBranching(base=1, weight=0).choose(group, 2, Random(0)) == [(0, 2), (1, 2)]


def test_the_seed_decides(play_of: MakePlay) -> None:
    rollouts = EntropyBranching(initial=2)
    assert rollouts.collect(play_of(5)) == rollouts.collect(play_of(5)) != rollouts.collect(play_of(5, seed=6))


def test_it_objects_to_small_groups() -> None:
    path = Path(sdsearch.__file__).parent / "specs" / "methods" / "arpo.yaml"
    with pytest.raises(SpecError, match=r"got initial: 4, expected at most train.group, which is 3"):
        load(path, ["train.group=3"])

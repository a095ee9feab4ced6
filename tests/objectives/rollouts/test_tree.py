from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import sdsearch
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.crediting.branching import owner
from sdsearch.errors import SpecError
from sdsearch.objectives.rollouts.tree import Tree
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.spec import load

MakePlay = Callable[..., EpisodeCollector]
Attempt = Callable[..., Trajectory]
SEARCH, ANSWER = Turn("search", "what"), Turn("answer", "here")


def test_trees_share_what_came_before_their_forks(play_of: MakePlay) -> None:
    play = play_of(8)
    groups = Tree(trees=2, expand=3).collect(play)
    assert [g.question for g in groups] == list(play.questions)
    assert [len(g.trajectories) for g in groups] == [8, 8]
    assert play.usage.rollouts == 16
    for group in groups:
        assert Counter(owner(group, (i, 0))[0] for i in range(8)) == {0: 4, 1: 4}
        assert [t.branch is None for t in group.trajectories] == [True] * 2 + [False] * 6
        for t in group.trajectories[2:]:
            assert t.branch is not None
            index, turn = t.branch
            assert 0 <= turn <= 3
            assert t.before(turn) == group.trajectories[index].before(turn)


def test_without_the_question_each_inner_state_is_played_on_from_once(play_of: MakePlay) -> None:
    """Three of the three inner turns of a tree, without repetition."""
    for group in Tree(trees=2, expand=3, root=False).collect(play_of(8)):
        assert {t.branch for t in group.trajectories[2:]} == {(i, n) for i in (0, 1) for n in (1, 2, 3)}


def test_every_state_is_drawn_as_often_and_again(attempt: Attempt) -> None:
    """The question and two states behind it: a third of 900 draws each, give or take six deviations of 14."""
    plays = tuple(attempt(1, SEARCH, SEARCH, ANSWER) for _ in range(2))
    group = Group(plays[0].question, plays)
    drawn = [Tree(trees=2, expand=3).choose(group, Random(seed)) for seed in range(300)]
    counts = Counter(place for places in drawn for place in places if place[0] == 1)
    assert set(counts) == {(1, 0), (1, 1), (1, 2)}
    assert all(abs(count - 300) < 85 for count in counts.values())
    assert any(len({p for p in places if p[0] == 0}) < 3 for places in drawn), "with replacement"


def test_what_is_spent_is_less_than_for_independent_rollouts(play_of: MakePlay) -> None:
    tree, alone = play_of(8), play_of(8)
    Tree(trees=2, expand=3).collect(tree)
    alone.collect(alone.questions, 8)
    assert tree.usage.rollouts == alone.usage.rollouts
    assert tree.usage.tokens < alone.usage.tokens


def test_the_seed_decides(play_of: MakePlay) -> None:
    rollouts = Tree(trees=2, expand=2, rounds=2)
    assert rollouts.collect(play_of(7)) == rollouts.collect(play_of(7)) != rollouts.collect(play_of(7, seed=6))


def test_trees_take_turns_when_not_all_leaves_are_needed(play_of: MakePlay) -> None:
    for group in Tree(trees=2, expand=3).collect(play_of(5)):
        assert Counter(owner(group, (i, 0))[0] for i in range(5)) == {0: 3, 1: 2}


def test_later_rounds_grow_from_what_earlier_ones_grew(attempt: Attempt) -> None:
    """The leaf at 2 left 0 before turn 1, so that only its last turn is another state."""
    long = SEARCH, SEARCH, ANSWER
    plays = attempt(1, *long), attempt(1, ANSWER), attempt(0, *long, branch=(0, 1))
    group = Group(plays[0].question, plays)
    drawn = Tree(trees=2, expand=4, root=False).choose(group, Random(0))
    first = [p for p in drawn if p[0] != 1]
    assert set(first) == {(0, 1), (0, 2), (2, 2)} and len(first) == 4
    assert [p for p in drawn if p[0] == 1] == [(1, 0)] * 4
    short = plays[1], attempt(0, ANSWER), attempt(1, *long, branch=(0, 0))
    drawn = Tree(trees=2, expand=2, root=False).choose(Group(plays[0].question, short), Random(0))
    assert set(drawn[::2]) == {(2, 1), (2, 2)}, "what left the first at the question is of its tree"
    assert drawn[1::2] == [(1, 0)] * 2
    every = {p for seed in range(99) for p in Tree(trees=2, expand=4).choose(group, Random(seed))}
    assert every == {(0, 0), (0, 1), (0, 2), (2, 2), (1, 0)}
    lost = replace(plays[0], stop_reason="retriever_unavailable")
    assert Tree(trees=1, expand=2).choose(Group(lost.question, (lost,)), Random(0)) == []


@pytest.mark.parametrize("group", [1, 7])
def test_it_objects_to_groups_that_it_cannot_grow(group: int) -> None:
    path = Path(sdsearch.__file__).parent / "specs" / "methods" / "tree_grpo.yaml"
    with pytest.raises(SpecError, match=f"train.group is {group}, and 2 trees have at least 2 leaves and at most 6"):
        load(path, [f"train.group={group}", "train.rollouts.expand=2"])


@pytest.mark.parametrize("group", [2, 6])
def test_it_takes_groups_from_its_trees_to_all_of_their_leaves(group: int) -> None:
    path = Path(sdsearch.__file__).parent / "specs" / "methods" / "tree_grpo.yaml"
    assert load(path, [f"train.group={group}", "train.rollouts.expand=2"]).train.group == group

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import sdsearch
from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.errors import SpecError
from sdsearch.objectives.credit.tree_group import TreeGroup
from sdsearch.spec import load

Attempt = Callable[..., Trajectory]
TURNS = Turn("search", "what"), Turn("answer", "here")
SPECS = Path(sdsearch.__file__).parent / "specs"


def test_by_hand(attempt: Attempt) -> None:
    """Two trees with the rewards (1, 0) and (0, 0): deviations 1/sqrt(2) and none; over all, 1/4 and 1/2."""
    branches = [None, None, (0, 1), (1, 1)]
    plays = tuple(attempt(float(not i), *TURNS, branch=b) for i, b in enumerate(branches))
    found = [c[0] for c in TreeGroup().of_group(Group(plays[0].question, plays))]
    root = 0.5**0.5
    assert found == pytest.approx([1.5 + root, -0.5, -0.5 - root, -0.5], rel=1e-5)


def test_a_leaf_that_left_at_the_question_is_of_its_tree(attempt: Attempt) -> None:
    """One tree with the rewards 1, 0 and 0: within it and over all the same numbers."""
    plays = tuple(attempt(float(not i), *TURNS, branch=b) for i, b in enumerate([None, (0, 0), (1, 0)]))
    found = [c[0] for c in TreeGroup().of_group(Group(plays[0].question, plays))]
    assert found == pytest.approx([2 * 2 / 3 * 3**0.5, -2 / 3 * 3**0.5, -2 / 3 * 3**0.5], rel=1e-5)


def test_lost_leaves_keep_their_place(attempt: Attempt) -> None:
    """The first root is lost: its two leaves are still one tree."""
    lost = replace(attempt(9, *TURNS), stop_reason="retriever_unavailable")
    plays = (lost, attempt(0, *TURNS), attempt(1, *TURNS, branch=(0, 1)), attempt(0, *TURNS, branch=(2, 1)))
    found = [c[0] for c in TreeGroup().of_group(Group(lost.question, plays))]
    root = 0.5**0.5
    over_all = [-1 / 3 / 3**-0.5, 2 / 3 / 3**-0.5, -1 / 3 / 3**-0.5]
    assert found == pytest.approx([over_all[0], over_all[1] + root, over_all[2] - root], rel=1e-5)


def test_it_wants_trees() -> None:
    load(SPECS / "methods" / "tree_grpo.yaml")
    with pytest.raises(SpecError, match=r"tree_group.*got rollouts independent, which have no trees"):
        load(SPECS / "grpo.yaml", ["objective.credit=[{type: tree_group}]"])

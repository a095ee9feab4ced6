"""Lessons: episodes as they went, and blocks in which labels alone tell what to do."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sdsearch.agents.scripted import Scripted
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.search import Search
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.rollout.collect import collect
from sdsearch.warmstart.lessons import READ, WRITTEN, Lesson, Piece, contrasted, lessons
from sdsearch.warmstart.spec import Cloning, Stage


def taught(groups: list[Group], renamed: float = 0.0, revalued: float = 0.7, **stage: Any) -> list[Lesson]:
    """Return the lessons of one stage."""
    settings = Cloning(stages=(Stage(**stage),), renamed=renamed, revalued=revalued)
    return next(lessons(groups, Hindsight(), settings, 0))


def batched(items: list[Lesson], size: int) -> Iterator[list[list[Piece]]]:
    """Return the pieces of `size` lessons at a time."""
    return ([lesson.pieces for lesson in items[i : i + size]] for i in range(0, len(items), size))


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    """Return scripted groups of eight, right and wrong."""
    environment = Search(retriever=Exact(corpus=AtlasPassages(countries=30), embedder=Hashing()))
    session = Scripted(wrong_query=0.4, recover=0.5, misread=0.2).open(environment.grammar)
    questions = AtlasQuestions(countries=30, hops=[1, 2], size=30).questions()
    played = collect(environment.open(), session, questions, 8, seed=0)
    assert {t.metrics["exact_match"] for g in played for t in g.trajectories} == {0.0, 1.0}
    return played


def told(block: str) -> list[tuple[str, str]]:
    """Return label and queries of each line of a block."""
    return re.findall(r"^(Correct|Incorrect): (.*)$", block, re.MULTILINE)


def line(trajectory: Trajectory) -> str:
    return " | ".join(map(Hindsight().clean, trajectory.queries)) or "no search"


def test_without_blocks_every_episode_is_as_it_went(groups: list[Group]) -> None:
    made = taught(groups, hinted=0.0)
    for trajectory, (pieces, hinted) in zip((t for g in groups for t in g.trajectories), made, strict=True):
        assert not hinted
        assert [p.text for p in pieces] == [s.text for s in trajectory.segments]
        assert [p.part for p in pieces] == [WRITTEN if s.role == "model" else READ for s in trajectory.segments]


def test_after_the_block_of_all_comes_the_shortest_right_attempt(groups: list[Group]) -> None:
    made = taught(groups, hinted=1.0)
    for group, eight in zip(groups, batched(made, 8), strict=True):
        right = [t for t in group.trajectories if t.metrics["exact_match"] == 1]
        for trajectory, pieces in zip(group.trajectories, eight, strict=True):
            followed = min(right, key=lambda t: len(t.turns)) if right else trajectory
            assert len(told(pieces[0].text)) == 8
            assert pieces[0].text.endswith(followed.segments[0].text)
            assert [p.text for p in pieces[1:]] == [s.text for s in followed.segments[1:]]
            assert [p.text for p in pieces if p.part == WRITTEN] == [a.text for a in followed.actions]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("left_out", [0.0, 1.0])
def test_the_few_that_are_marked_right_are_followed(groups: list[Group], flipped: bool, left_out: float) -> None:
    settings = Stage(flipped=float(flipped), left_out=left_out)
    dice, sizes, outside = random.Random(0), Counter[int](), Counter[bool]()
    for group in groups * 4:
        right = [t for t in group.trajectories if correct(t) != flipped]
        drawn = contrasted(group, Hindsight(), settings, dice)
        if drawn is None:
            assert len(right) == 0 or len(group.trajectories) - len(right) < 2
            continue
        lines = told(drawn.block)
        marked = [text for label, text in lines if label == "Correct"]
        assert 1 <= len(marked) <= 3
        assert len(marked) < len(lines) - len(marked)
        sizes[len(lines)] += 1
        assert any(drawn.followed is t for t in right)
        assert drawn.queries_only is flipped
        # Attempts may have asked the same queries, so that one that is left out is told of all the same.
        outside[line(drawn.followed) not in marked] += 1
        assert Counter(marked) <= Counter(map(line, right))
        others = Counter(line(t) for t in group.trajectories if not any(t is r for r in right))
        assert Counter(text for label, text in lines if label == "Incorrect") <= others
    assert max(sizes) <= 8
    assert len(sizes) > 2
    assert outside[True] == 0 if left_out == 0 else outside[True] > 5


def test_what_is_only_marked_right_is_followed_to_its_last_search(groups: list[Group]) -> None:
    made = [lesson.pieces for lesson in taught(groups, hinted=1.0, contrast=1.0, flipped=1.0) if lesson.hinted]
    assert len(made) > 100
    answered = [[p.text for s in g.trajectories for p in s.segments if p.role == "model"] for g in groups]
    searches = {text for texts in answered for text in texts if text.startswith("<search>")}
    for pieces in made:
        written = [p.text for p in pieces if p.part == WRITTEN]
        assert written
        assert set(written) <= searches
        assert pieces[-1].text == written[-1]


def test_behind_a_block_of_another_question_an_episode_is_as_it_went(groups: list[Group]) -> None:
    made = taught(groups, hinted=1.0, foreign=1.0)
    blocks, lent = 0, 0
    for group, eight in zip(groups, batched(made, 8), strict=True):
        own = {line(t) for t in group.trajectories}
        for trajectory, pieces in zip(group.trajectories, eight, strict=True):
            assert [p.text for p in pieces[1:]] == [s.text for s in trajectory.segments[1:]]
            assert pieces[0].text.endswith(trajectory.segments[0].text)
            blocks += bool(told(pieces[0].text))
            lent += bool(told(pieces[0].text)) and not own & {text for _, text in told(pieces[0].text)}
    assert blocks > 200
    assert lent > 0.9 * blocks


def test_names_are_made_up_alike_in_a_block_and_its_episode(groups: list[Group]) -> None:
    made = taught(groups, renamed=1.0, hinted=1.0, contrast=0.5)
    for group, eight in zip(groups, batched(made, 8), strict=True):
        entity = group.question.hops[0].entity
        texts = ["".join(p.text for p in lesson) for lesson in eight]
        questions = {text[text.index("Question:") :].partition("\n")[0] for text in texts}
        assert len(questions) == 1
        assert entity not in questions.pop()
        assert not any(re.search(rf"(?<!\w){re.escape(entity)}(?!\w)", text) for text in texts)


def test_a_stage_goes_on_where_the_one_before_it_ended(groups: list[Group]) -> None:
    settings = Cloning(stages=(Stage(share=0.5, hinted=0.0), Stage(share=1.0, hinted=0.0)), renamed=0.0)
    first, second = lessons(groups, Hindsight(), settings, 0)
    whole = taught(groups, hinted=0.0)
    half = len(whole) // 2
    assert first == whole[:half]
    assert second == whole[half:] + whole[:half]


def test_each_time_an_episode_has_other_names(groups: list[Group]) -> None:
    made = taught(groups, renamed=1.0, hinted=0.0, share=2.0)
    first, second = made[: len(made) // 2], made[len(made) // 2 :]
    assert sum(a.pieces[0] == b.pieces[0] for a, b in zip(first, second, strict=True)) < len(first) / 10


def test_numbers_that_are_compared_stay(groups: list[Group]) -> None:
    for kind, kept in (("bridge-2", False), ("comparison-2", True)):
        asked = [replace(g, question=replace(g.question, kind=kind)) for g in groups]
        made = taught(asked, renamed=1.0, revalued=1.0, hinted=0.0)
        for group, eight in zip(groups, batched(made, 8), strict=True):
            old = {v for s in group.trajectories[0].segments for v in re.findall(r"\d{4,}", s.text)}
            new = {v for piece in eight[0] for v in re.findall(r"\d{4,}", piece.text)}
            assert (old == new) is (kept or not old)

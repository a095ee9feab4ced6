"""Cloning: rows that read as an episode does, and batches that keep to the budget."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sdsearch.agents.scripted import Scripted
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.search import Search
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.policy.policy import Policy
from sdsearch.rollout.collect import collect
from sdsearch.warmstart.clone import Piece, Row, batches, lessons, replaced, row, values
from sdsearch.warmstart.spec import Cloning


def batched(items: Iterator[list[Piece]], size: int) -> Iterator[list[list[Piece]]]:
    """Return `size` items at a time."""
    everything = list(items)
    return (everything[i : i + size] for i in range(0, len(everything), size))


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    """Return scripted groups of three, right and wrong."""
    environment = Search(retriever=Exact(corpus=AtlasPassages(countries=30), embedder=Hashing()))
    session = Scripted(wrong_query=0.4, recover=0.5, misread=0.2).open(environment.grammar)
    questions = AtlasQuestions(countries=30, hops=[1, 2], size=30).questions()
    played = collect(environment.open(), session, questions, 3, seed=0)
    assert {t.metrics["exact_match"] for g in played for t in g.trajectories} == {0.0, 1.0}
    return played


def test_a_row_weighs_what_is_written_and_what_is_read(tiny: Policy) -> None:
    lesson = [Piece("Question: x?\n", False), Piece("<search> y </search>", True), Piece("\n\nz", False)]
    made = row(tiny, lesson, 0.25)
    assert tiny.codec.decode(made.tokens) == "Question: x?\n<search> y </search>\n\nz"
    assert set(made.weights) == {1.0, 0.25}
    own = tiny.codec.decode([t for t, w in zip(made.tokens, made.weights, strict=True) if w == 1])
    assert own == "<search> y </search>"


def test_after_a_block_comes_the_shortest_correct_attempt(groups: list[Group]) -> None:
    made = list(lessons(groups, Hindsight(), Cloning(hinted=1.0, renamed=0.0), 0))
    for i, group in enumerate(groups):
        correct = [t for t in group.trajectories if t.metrics["exact_match"] == 1]
        for j, trajectory in enumerate(group.trajectories):
            shown = min(correct, key=lambda t: len(t.turns)) if correct else trajectory
            text = "".join(piece.text for piece in made[3 * i + j])
            assert text.startswith("Earlier attempts:\n")
            assert text.endswith("".join(s.text for s in shown.segments))
            assert [p.text for p in made[3 * i + j] if p.written] == [a.text for a in shown.actions]


def test_names_are_made_up_alike_in_a_whole_group(groups: list[Group]) -> None:
    for group, three in zip(groups, batched(lessons(groups, Hindsight(), Cloning(renamed=1.0), 0), 3), strict=True):
        hop = group.question.hops[0]
        texts = ["".join(p.text for p in lesson) for lesson in three]
        questions = {text[text.index("Question:") :].partition("\n")[0] for text in texts}
        assert len(questions) == 1
        assert hop.entity not in questions.pop()


def test_each_epoch_has_other_names(groups: list[Group]) -> None:
    made = list(lessons(groups, Hindsight(), Cloning(renamed=1.0, hinted=0.0, epochs=2), 0))
    first, second = made[: len(made) // 2], made[len(made) // 2 :]
    assert sum(a[0] == b[0] for a, b in zip(first, second, strict=True)) < len(first) / 10


def test_longer_names_are_replaced_first_and_whole() -> None:
    names = {"Niger": "A", "Nigeria": "B", "Port Harcourt Airport": "C"}
    assert replaced("Niger, Nigeria, Nigerian, Port Harcourt Airport", names) == "A, B, Nigerian, C"


def test_batches_keep_to_the_budget_and_hold_every_row() -> None:
    dice = random.Random(0)
    data = [Row((1,) * n, (1.0,) * n) for n in (dice.randint(5, 60) for _ in range(100))]
    found = batches(data, Cloning(tokens_per_batch=200), 0)
    assert sorted(i for b in found for i in b) == [*range(100)]
    assert max(len(b) * max(len(data[i].tokens) for i in b) for b in found) <= 200


def test_values_keep_their_form() -> None:
    text = "Doc 1(Title: X) The IATA code of X is RGO, its domain .ma, its latitude 41.4, its people 408000, dial +2."
    question = Question("q", "?", ("408000",))
    shown = Trajectory(question, (Segment("prompt", text),), (), "answered", 0.0)
    found = values(Group(question, (shown,)), random.Random(0))
    assert set(found) == {"RGO", ".ma", "41.4", "408000", "+2"}
    for old, new in found.items():
        assert old != new
        assert [c.isdigit() for c in old] == [c.isdigit() for c in new]
        assert [c.isupper() for c in old] == [c.isupper() for c in new]
        assert [c for c in old if not c.isalnum()] == [c for c in new if not c.isalnum()]


def test_numbers_that_are_compared_stay(groups: list[Group]) -> None:
    for kind, kept in (("bridge-2", False), ("comparison-2", True)):
        asked = [replace(g, question=replace(g.question, kind=kind)) for g in groups]
        made = lessons(asked, Hindsight(), Cloning(renamed=1.0, revalued=1.0, hinted=0.0), 0)
        for group, three in zip(groups, batched(made, 3), strict=True):
            old = {v for s in group.trajectories[0].segments for v in re.findall(r"\d{4,}", s.text)}
            new = {v for piece in three[0] for v in re.findall(r"\d{4,}", piece.text)}
            assert (old == new) is (kept or not old)

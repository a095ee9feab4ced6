from typing import Any

import pytest
from pydantic import ValidationError

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.objectives.hints.peer_success import PeerSuccess
from sdsearch.testing import check_hint, example_groups, example_trajectory

QUESTION = Question("q", "What is the capital?", ("Paris",))


def attempt(query: str, answer: str) -> Trajectory:
    """Return an episode with a thought, a search, a passage and an answer."""
    texts = [
        ("prompt", "Question: What is the capital?\n"),
        ("model", f"<think> why not </think><search> {query} </search>"),
        ("observation", f"\n\n<information>Doc 1(Title: {query}) It is.\n</information>\n\n"),
        ("model", f"<answer> {answer} </answer>"),
    ]
    segments = tuple(Segment(role, text) for role, text in texts)  # type: ignore[arg-type]
    turns = (Turn("search", query), Turn("answer", answer))
    return Trajectory(QUESTION, segments, turns, "answered", float(answer == "Paris"))


GROUP = Group(QUESTION, (attempt("one", "Rome"), attempt("two", "Paris"), attempt("three", "Paris")))


def texts(group: Group = GROUP, seed: int = 0, **settings: Any) -> list[str | None]:
    return PeerSuccess.model_validate(settings).texts([group], seed)[0]


@pytest.mark.parametrize(
    "settings", [{}, {"pick": "random", "label_by": "f1", "shows": ["query"], "max_characters": 2}]
)
def test_contract(settings: dict[str, object]) -> None:
    check_hint(PeerSuccess.model_validate(settings))


def test_the_first_other_right_attempt_without_its_thoughts() -> None:
    two = "An earlier attempt that was right:\nquery: two\ndocuments: Doc 1(Title: two) It is.\nanswer: Paris\n\n"
    assert texts() == [two, two.replace("two", "three"), two]


def test_without_a_right_peer_there_is_no_teacher() -> None:
    assert texts(Group(QUESTION, GROUP.trajectories[:1] * 2)) == [None, None]
    lone = texts(Group(QUESTION, GROUP.trajectories[:2]))
    assert lone[1] is None
    assert lone[0] is not None
    lost = example_trajectory(QUESTION, [("search", "x"), ("answer", "Paris")], 1.0, lost=True)
    assert texts(Group(QUESTION, (lost, GROUP.trajectories[0]))) == [None]


def test_what_is_right() -> None:
    near = Group(QUESTION, (attempt("one", "Rome"), attempt("two", "Paris, France")))
    assert texts(near) == [None, None]
    assert texts(near, label_by="f1")[0] is not None
    assert texts(near, label_by="f1", above=0.7) == [None, None]  # F1 2/3


def test_a_random_peer_is_never_oneself() -> None:
    found = [
        texts(pick="random", seed=seed, shows=["query"], template="{attempt}", line="{text}") for seed in range(12)
    ]
    assert {of[0] for of in found} == {"two", "three"}
    assert {of[1] for of in found} == {"three"}
    assert {of[2] for of in found} == {"two"}


def searched(answer: str, *queries: str) -> Trajectory:
    """Return an episode with these searches."""
    plays = [*(("search", query) for query in queries), ("answer", answer)]
    return example_trajectory(QUESTION, plays, float(answer == "Paris"))


TOLD: dict[str, Any] = {"shows": ["query"], "template": "{attempt}", "line": "{text}"}


def test_a_more_efficient_peer_has_fewer_searches_than_oneself() -> None:
    group = Group(
        QUESTION,
        (
            searched("Paris", "a", "b", "c"),
            searched("Paris", "d", "e"),
            searched("Paris", "f"),
            searched("Rome", "g", "h"),
            searched("Rome"),
            searched("Paris", "i"),
        ),
    )
    assert texts(group, pick="fewest", **TOLD) == ["f", "f", None, "f", None, None]
    assert texts(group, pick="fewest", skip=1, **TOLD) == ["i", "i", None, "i", None, None]
    assert texts(group, pick="fewest", skip=2, **TOLD) == ["d\ne", None, None, None, None, None]


def test_wrong_peers_in_the_words_for_right_ones() -> None:
    group = Group(QUESTION, (attempt("one", "Rome"), attempt("two", "Paris"), attempt("three", "Oslo")))
    hint = PeerSuccess.model_validate(TOLD)
    wrong = hint.twins()["wrong"]
    assert wrong.texts([group], 0) == [["three", "one", "one"]]
    assert [each.texts([group], 0)[0] for each in wrong.variants(3)] == [
        ["three", "one", "one"],
        [None, "three", None],
        [None, None, None],
    ]
    assert wrong.twins() == {}
    assert PeerSuccess().twins()["wrong"].texts([group], 0)[0][1].startswith("An earlier attempt that was right:\n")  # type: ignore[union-attr]


def test_variants_drawn_at_random_are_different_attempts() -> None:
    group = Group(QUESTION, tuple(attempt(name, "Paris") for name in ("one", "two", "three", "four")))
    for seed in range(9):
        told = [h.texts([group], seed)[0] for h in PeerSuccess.model_validate({"pick": "random", **TOLD}).variants(3)]
        for index, own in enumerate(("one", "two", "three", "four")):
            assert {of[index] for of in told} == {"one", "two", "three", "four"} - {own}


def test_parts_and_words() -> None:
    assert texts(shows=["think", "answer"], line="({kind}) {text}", template="{attempt}!")[0] == (
        "(think) why not\n(answer) Paris!"
    )
    assert texts(max_characters=3, template="{attempt}")[0] == "query: two\ndocuments: Doc\nanswer: Par"
    with pytest.raises(ValidationError):
        PeerSuccess.model_validate({"shows": []})


def test_texts_do_not_depend_on_other_groups() -> None:
    hint = PeerSuccess(pick="random", label_by="f1")
    assert hint.texts(example_groups(), 3) == [hint.texts([g], 3)[0] for g in example_groups()]

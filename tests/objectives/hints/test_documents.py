import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.objectives.hints.documents import Documents
from sdsearch.testing import check_hint, example_groups

QUESTION = Question("q", "Where?", ("a",))


def episode() -> Trajectory:
    """Return an episode of two searches with an invalid action between them, and an answer."""
    found = "\n\n<information>Doc 1(Title: T{}) x\nDoc 2(Title: U) y\n</information>\n\n"
    texts = ["Question: Where?\n", "<search> one </search>", found.format(1), "what", "\n\nNot valid.\n\n"]
    texts += ["<search> two </search>", found.format(2), "<answer> a </answer>"]
    segments = (
        Segment("prompt", texts[0]),
        *(Segment("model" if i % 2 == 0 else "observation", t) for i, t in enumerate(texts[1:])),
    )
    turns = (Turn("search", "one"), Turn("invalid", ""), Turn("search", "two"), Turn("answer", "a"))
    return Trajectory(QUESTION, segments, turns, "answered", 1.0)


@pytest.mark.parametrize("settings", [{}, {"max_characters": 3, "template": "{documents}"}])
def test_contract(settings: dict[str, object]) -> None:
    check_hint(Documents.model_validate(settings))


def test_each_turn_sees_what_its_own_query_finds() -> None:
    first, second, third, last = Documents().tell(episode())
    assert Documents().texts([Group(QUESTION, (episode(),))], 0) == [[(first, second, third, last)]]
    assert first == "Documents:\nDoc 1(Title: T1) x\nDoc 2(Title: U) y\n\n"
    assert third == first.replace("T1", "T2")
    assert (second, last) == (None, None)


def test_limit() -> None:
    ((hint,),) = Documents(max_characters=8, template="{documents}|").texts([Group(QUESTION, (episode(),))], 0)
    assert hint == ("Doc 1(Ti|", None, "Doc 1(Ti|", None)


def test_what_was_never_observed_is_not_told() -> None:
    assert all(text is None for hints in Documents().texts(example_groups(), 0) for of in hints for text in of or ())

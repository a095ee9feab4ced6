import pytest

from sdsearch.core.answers import correct, exact_match, f1, normalize_answer
from sdsearch.core.question import Question
from sdsearch.testing import example_trajectory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("  a\tcat, an owl\n", "cat owl"),
        ("U.S.A.", "usa"),
        ("theatre", "theatre"),
        ("São Paulo", "são paulo"),
        ("A", "a"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_normalize_answer(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected
    assert normalize_answer(expected) == expected


@pytest.mark.parametrize(
    ("answer", "answers", "expected"),
    [
        ("the paris", ["London", "Paris."], 1.0),
        ("Paris France", ["Paris"], 0.0),
        (None, ["Paris"], 0.0),
        ("Paris", [], 0.0),
        ("", [""], 0.0),
        ("", ["A"], 0.0),
        ("the", ["A"], 0.0),
        ("...", ["!"], 0.0),
        ("a", ["A"], 1.0),
    ],
)
def test_exact_match(answer: str | None, answers: list[str], expected: float) -> None:
    assert exact_match(answer, answers) == expected


@pytest.mark.parametrize(
    ("answer", "answers", "expected"),
    [
        ("New York City", ["New York"], 0.8),  # precision 2/3, recall 1
        ("York", ["Boston", "New York"], 2 / 3),  # the best of the answers
        ("york york", ["york"], 2 / 3),  # words count as often as they occur
        ("the new york", ["New York!"], 1.0),
        ("Boston", ["New York"], 0.0),
        (None, ["New York"], 0.0),
        ("", ["New York"], 0.0),
        ("", [""], 0.0),
        ("x", [], 0.0),
        ("the", ["A"], 0.0),
    ],
)
def test_f1(answer: str | None, answers: list[str], expected: float) -> None:
    assert f1(answer, answers) == pytest.approx(expected, abs=1e-12)


def test_correct_needs_more_than_the_threshold() -> None:
    question = Question("q", "?", ("New York",))
    half = example_trajectory(question, [("answer", "New Delhi")], 0.0)  # F1 1/2
    assert correct(half)
    assert correct(half, above=0.49)
    assert not correct(half, above=0.5)
    assert not correct(half, "exact_match")
    assert not correct(example_trajectory(question, [("search", "New York")], 1.0))

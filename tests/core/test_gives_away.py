import pytest

from sdsearch.core.answers import gives_away


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("CORRECT: capital of Norway | Oslo airport", ("Oslo",), True),
        ("CORRECT: capital of Norway | Oslofjord", ("Oslo",), False),
        ("INCORRECT: the NEW, york!", ("New York",), True),
        ("INCORRECT: new | york", ("New York",), True),
        ("a", ("743000", "743,000"), False),
        ("population 743,000.", ("743000",), True),
        ("York New", ("New York",), False),
        ("", ("x",), False),
        (None, ("x",), False),
        ("anything", ("", "?!"), False),
        ("anything", (), False),
    ],
)
def test_gives_away(text: str | None, answers: tuple[str, ...], expected: bool) -> None:
    assert gives_away(text, answers) is expected

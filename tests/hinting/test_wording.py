from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sdsearch.hinting.wording import one_line, wording

TEMPLATE: TypeAdapter[str] = TypeAdapter(Annotated[str, wording("kind", "text")])


@pytest.mark.parametrize("text", ["{text}", "a {kind}: {text} b\n", "{{x}} {text}"])
def test_a_template_holds_known_names(text: str) -> None:
    assert TEMPLATE.validate_python(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no name", r"expected a text that holds \{kind\} and \{text\} and no other"),
        ("{txt}", "no other name in braces"),
        ("{text} {}", "no other name"),
        ("{text.__class__}", "no other name"),
        ("{text[0]}", "no other name"),
        ("{text", "write a brace that is meant as one twice"),
    ],
)
def test_others_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TEMPLATE.validate_python(text)


def test_in_a_spec() -> None:
    from sdsearch.contracts.hint import Hint

    hints: TypeAdapter[Any] = TypeAdapter(Hint)
    with pytest.raises(ValidationError, match=r"got 'It is \{anser\}', expected a text that holds \{answer\}"):
        hints.validate_python({"type": "gold_answer", "template": "It is {anser}"})


@given(st.text() | st.lists(st.sampled_from(["<", ">", "\n", "\u2028", "\x00", " ", "a", "{", "}"])).map("".join))
def test_one_line(text: str) -> None:
    found = one_line(text)
    assert len(found.splitlines()) <= 1
    assert not set(found) & set("<>\x00")
    assert f"{found}" == found

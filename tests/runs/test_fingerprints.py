"""What a run goes on from is the same as it was, as far as both sides say."""

import pytest

from sdsearch.runs.fingerprints import changed


@pytest.mark.parametrize(
    ("then", "now", "names"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, ["b"]),
        ({"a": None}, {"a": "1"}, []),  # it did not say
        ({}, {"a": "1"}, []),  # an older checkpoint did not ask
        ({"a": "1"}, {"a": None}, []),
        ({"a": "1"}, {}, []),
    ],
)
def test_what_has_changed(then: dict[str, str | None], now: dict[str, str | None], names: list[str]) -> None:
    assert changed(then, now) == names

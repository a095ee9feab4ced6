"""What is said about components: every parameter has a description, and defaults are readable."""

import pytest

from sdsearch.config.catalogue import components, parameters, shown
from sdsearch.contracts.families import FAMILIES
from sdsearch.objectives.credit.group_mean import GroupMean

MEMBERS = [(family, entry.name) for family in FAMILIES.values() for entry in components(family)]


@pytest.mark.parametrize(("family", "name"), MEMBERS, ids=[f"{family.family}-{name}" for family, name in MEMBERS])
def test_every_parameter_is_described(family: type, name: str) -> None:
    silent = [p.name for p in parameters(family, name) if not p.about]
    assert silent == [], "write a docstring under each of these fields, also where it is defined anew in a subclass"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (0.5, "0.5"),
        ("query", '"query"'),
        (GroupMean(), "group_mean"),
        ((0.8, 1.2), "[0.8, 1.2]"),
        (("query", "answer"), '["query", "answer"]'),
        ([None], "[null]"),
        ((), "[]"),
        (tuple(range(100)), "a list of 100"),
        ({"a": 1}, "a mapping"),
    ],
)
def test_a_default_is_shown_as_yaml(value: object, said: str) -> None:
    assert shown(value) == said

"""Made-up names and values: whole words, the longest first, and of the same form."""

import random

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory
from sdsearch.warmstart.names import replaced, values


def test_longer_names_are_replaced_first_and_whole() -> None:
    names = {"Niger": "A", "Nigeria": "B", "Port Harcourt Airport": "C"}
    assert replaced("Niger, Nigeria, Nigerian, Port Harcourt Airport", names) == "A, B, Nigerian, C"


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

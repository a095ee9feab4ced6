"""Whoever has a hint shows it to its teacher in its place."""

from collections.abc import Sequence

import pytest

from sdsearch.config.component import Component, resolve
from sdsearch.config.discovery import known
from sdsearch.contracts.credit import Credit, Numbers
from sdsearch.contracts.hint import After, Hints, Teacher
from sdsearch.contracts.loss import Term
from sdsearch.core.trajectory import Group
from sdsearch.testing import ExampleProbe, example_groups, example_table

FAMILIES: tuple[type[Component], ...] = (Credit, Term)
HINTED = [(f, n) for f in FAMILIES for n in known(f) if "hint" in resolve(f, n).model_fields]


class Shown(ExampleProbe):
    """Keeps the hints that it was given."""

    def __init__(self) -> None:
        self.hints = list[Hints]()

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        self.hints += [] if hints is None else [hints]
        return super().logprobs(groups, hints, teacher)


@pytest.mark.parametrize(("family", "name"), HINTED, ids=[name for _, name in HINTED])
@pytest.mark.parametrize(("place", "kind"), [("before", str), ("after", After)])
def test_a_hint_is_shown_in_its_place(family: type[Component], name: str, place: str, kind: type[str]) -> None:
    made = resolve(family, name).model_validate({"hint": {"type": "gold_answer", "place": place}})
    shown: list[Hints] = []
    if isinstance(made, Term):
        selection = made.select(example_table(), 0)
        shown = [selection.hints or ()]
    elif isinstance(made, Credit):
        probe = Shown()
        made.advantages(example_groups(), probe)
        shown = probe.hints
    assert {type(text) for hints in shown for text in hints} == {kind}


def test_there_are_some() -> None:
    assert {"distill", "log_ratio", "hcapo"} <= {name for _, name in HINTED}

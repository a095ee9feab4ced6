"""Every number that a spec can hold has a range, and what lies outside of it is refused in our words.

The fields are found in the classes, so that a new one is tried too.
"""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import annotated_types as bounds
import pytest
from pydantic import create_model
from pydantic.fields import FieldInfo

from sdsearch.config.component import Component, Settings, resolve
from sdsearch.config.discovery import known
from sdsearch.config.load import KINDS, load_as, model_of
from sdsearch.config.scalars import MOST, kinds
from sdsearch.contracts.families import FAMILIES
from sdsearch.errors import SpecError
from sdsearch.fidelity import candidates  # noqa: F401
from sdsearch.teacher import asked  # noqa: F401

NEGATIVE = {
    *("Credit.weight", "Term.weight", "GatedGap.weight", "LLDS.weight", "Schedule.value", "Constant.value"),
    *("StepSearch.unanswered", "Monitors.entropy_gap"),
}
"""Numbers that may be negative: factors of either sign, and differences."""
TRIED = ("true", ".nan", ".inf", "-.inf", "-1", "0", "1e30", "9" * 40)


class Number(NamedTuple):
    """A numeric field, where it is defined."""

    owner: type[Settings]
    name: str

    @property
    def info(self) -> FieldInfo:
        return self.owner.model_fields[self.name]

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


@cache
def numbers() -> tuple[Number, ...]:
    """Return the numeric fields of all kinds of specs and all components."""
    for kind in KINDS:
        model_of(kind)
    for family in FAMILIES.values():
        for name in known(family):
            resolve(family, name)
    return tuple(_numbers(Settings))


def _numbers(model: type[Settings]) -> Iterator[Number]:
    for inner in dict.fromkeys(model.__subclasses__()):
        if inner.__module__.startswith("sdsearch."):
            for name in inner.__annotations__.keys() & inner.model_fields.keys():
                if kinds(inner, name).numbers:
                    yield Number(inner, name)
            yield from _numbers(inner)


def _marks(info: FieldInfo) -> list[Any]:
    """Return all bounds of a field, those of its items among them."""
    found = list(info.metadata)
    ahead = [info.annotation]
    while ahead:
        part = ahead.pop()
        for mark in getattr(part, "__metadata__", ()):
            found += mark.metadata if isinstance(mark, FieldInfo) else [mark]
        ahead += [a for a in get_args(part) if not isinstance(a, str)]
    return found


def _inside(number: Number, value: float) -> bool:
    kind = kinds(*number)
    if (value > MOST and not kind.bounded_above) or (value < -MOST and not kind.bounded_below):
        return False
    tests = {
        bounds.Ge: lambda m: value >= m.ge,
        bounds.Gt: lambda m: value > m.gt,
        bounds.Le: lambda m: value <= m.le,
        bounds.Lt: lambda m: value < m.lt,
    }
    return all(tests[type(mark)](mark) for mark in _marks(number.info) if type(mark) in tests)


@cache
def _alone(number: Number) -> type[Settings]:
    """Return a model of one field: what a rule over several says of it is that rule's to test."""
    field: Any = {number.name: (number.info.annotation, number.info)}
    inner = create_model("Alone", __base__=Settings, **field)
    return create_model("Outer", __base__=Settings, at=(inner, ...))


def test_there_are_many() -> None:
    assert len(numbers()) > 150
    assert {"Train.betas", "Study.budget", "Mixture.weights", "Chroma.port"} <= {str(n) for n in numbers()}


def test_only_factors_and_differences_may_be_negative() -> None:
    assert {str(n) for n in numbers() if _inside(n, -1)} == NEGATIVE


@pytest.mark.parametrize("written", TRIED)
def test_a_number_is_in_its_range_or_refused_in_our_words(tmp_path: Path, written: str) -> None:
    spec, value = tmp_path / "x.yaml", math.nan if written == "true" else float(written.replace(".", "", 1))
    for number in numbers():
        alone, text, key = _alone(number), str(number.info.annotation), "budget" if number.name == "budget" else "k"
        shape = "{v}"
        if "tuple[" in text:
            shape = "[{v}, {v}]"
        elif "list[" in text:
            shape = "[{v}]"
        elif "dict[" in text:
            shape = "{{seconds: {v}}}" if key == "budget" else "{{k: {v}}}"
        spec.write_text(f"at: {{{number.name}: {shape.format(v=written)}}}\n")
        try:
            found = load_as(alone, spec)
        except SpecError as error:
            assert not (math.isfinite(value) and _inside(number, value)), f"{number}: {error}"
            for line in str(error).splitlines():
                assert line.startswith(f"{spec}:1:"), f"{number}: {line}"
                assert f": at.{number.name}" in line and ": got " in line and ", expected " in line, f"{number}: {line}"
        else:
            assert math.isfinite(value) and _inside(number, value), f"{number} took {written}: {found}"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("betas: [0.9]", "betas[1]: got a list of 1, expected one item more"),
        ("betas: [0.9, 0.9, 0.9]", "betas: got a list of 3, expected at most 2 items"),
        ("betas: [0.9, 1]", "betas[1]: got 1, expected less than 1"),
        ("betas: [true, 0.9]", "betas[0]: got true, expected a number"),
        ("betas: [0.9, true]", "betas[1]: got true, expected a number"),
        ("steps: true", "steps: got true, expected a whole number"),
        ("steps: 2.5", "steps: got 2.5, expected a whole number"),
        ("learning_rate: 1e30", "learning_rate: got 1e+30, expected at most 10"),
        ("learning_rate: 11", "learning_rate: got 11, expected at most 10"),
        ("group: 1000000", "group: got 1000000, expected at most 10000"),
    ],
)
def test_words(tmp_path: Path, written: str, said: str) -> None:
    from sdsearch.spec import Train

    (tmp_path / "x.yaml").write_text(f"{written}\n")
    with pytest.raises(SpecError) as caught:
        load_as(Train, tmp_path / "x.yaml")
    assert str(caught.value).partition("x.yaml:1:")[2].partition(": ")[2].startswith(said)


def test_true_is_true_where_it_is_meant(tmp_path: Path) -> None:
    from sdsearch.spec import Evaluate

    (tmp_path / "x.yaml").write_text("greedy: false\n")
    assert load_as(Evaluate, tmp_path / "x.yaml").greedy is False
    for number in ("0", "1", "1.0"):
        (tmp_path / "x.yaml").write_text(f"greedy: {number}\n")
        with pytest.raises(SpecError, match=rf"x\.yaml:1:\d+: greedy: got {number}, expected true or false$"):
            load_as(Evaluate, tmp_path / "x.yaml")
    assert issubclass(Component, Settings)

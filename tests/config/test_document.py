"""Specs laid upon each other."""

import pytest

from sdsearch.config.document import Node, written
from sdsearch.config.yaml import parse


def tree(text: str, source: str = "x.yaml") -> Node:
    return parse(text, source, [])


@pytest.mark.parametrize(
    ("below", "over", "merged"),
    [
        ("{a: 1, b: 2}", "{b: 3, c: 4}", {"a": 1, "b": 3, "c": 4}),
        ("{a: {b: 1, c: 2}}", "{a: {c: 3}}", {"a": {"b": 1, "c": 3}}),
        ("{a: [1, 2, 3]}", "{a: [4]}", {"a": [4]}),
        ("{a: [{b: 1, c: 2}, {b: 3}]}", "{a: {1: {b: 4}}}", {"a": [{"b": 1, "c": 2}, {"b": 4}]}),
        (
            "{a: [{type: x, b: 1}, 2, y]}",
            "{a: {2: {b: 3}, 0: {type: z}}}",
            {"a": [{"type": "z"}, 2, {"type": "y", "b": 3}]},
        ),
        ("{a: [1, 2]}", "{a: {2: 4}}", {"a": {"2": 4}}),
        ("{a: [1, 2]}", "{a: {0: 4, b: 1}}", {"a": {"0": 4, "b": 1}}),
        ("{a: [1, 2]}", "{a: {}}", {"a": {}}),
        ("{a: {b: 1}}", "{a: null}", {"a": None}),
        ("{a: null}", "{a: {b: 1}}", {"a": {"b": 1}}),
        ("{a: {type: x, b: 1}}", "{a: {c: 2}}", {"a": {"type": "x", "b": 1, "c": 2}}),
        ("{a: {type: x, b: 1}}", "{a: {type: x, c: 2}}", {"a": {"type": "x", "b": 1, "c": 2}}),
        ("{a: {type: x, b: 1}}", "{a: {type: y, c: 2}}", {"a": {"type": "y", "c": 2}}),
        ("{a: {type: x, b: 1}}", "{a: y}", {"a": "y"}),
        ("{a: x}", "{a: {c: 2}}", {"a": {"type": "x", "c": 2}}),
        ("{a: x}", "{a: {type: y}}", {"a": {"type": "y"}}),
    ],
)
def test_merge(below: str, over: str, merged: object) -> None:
    assert tree(below).merge(tree(over)).plain() == merged


def test_a_merged_tree_keeps_the_place_of_each_value() -> None:
    merged = tree("a: 1\nb: {c: 1}", "below.yaml").merge(tree("b:\n  d: 2", "over.yaml"))
    assert str(merged.place) == "over.yaml:1:1"
    assert str(merged.keys["a"]) == "below.yaml:1:1"
    assert str(merged.value["b"].value["c"].place) == "below.yaml:2:8"
    assert str(merged.value["b"].keys["d"]) == "over.yaml:2:3"


@pytest.mark.parametrize(
    ("path", "value", "result"),
    [
        (["a"], "9", {"a": 9, "b": [{"c": 1}, {"c": 2}], "e": "x"}),
        (["b", "1", "c"], "9", {"a": {"p": 1}, "b": [{"c": 1}, {"c": 9}], "e": "x"}),
        (["b", "0"], "{d: 3}", {"a": {"p": 1}, "b": [{"c": 1, "d": 3}, {"c": 2}], "e": "x"}),
        (["b"], "[]", {"a": {"p": 1}, "b": [], "e": "x"}),
        (["a", "q", "r"], "9", {"a": {"p": 1, "q": {"r": 9}}, "b": [{"c": 1}, {"c": 2}], "e": "x"}),
        (["e", "k"], "9", {"a": {"p": 1}, "b": [{"c": 1}, {"c": 2}], "e": {"type": "x", "k": 9}}),
    ],
)
def test_put(path: list[str], value: str, result: object) -> None:
    root = tree("{a: {p: 1}, b: [{c: 1}, {c: 2}], e: x}")
    assert root.put(path, tree(value, "--set")).plain() == result
    assert root.plain() == {"a": {"p": 1}, "b": [{"c": 1}, {"c": 2}], "e": "x"}


@pytest.mark.parametrize("index", ["2", "-1", "c", "", "1.0"])
def test_an_index_must_be_in_the_list(index: str) -> None:
    with pytest.raises(LookupError, match=f'"{index}" is no index of a list of 2, which count from 0'):
        tree("[1, 2]").put([index], tree("3"))


def test_another_type_put_drops_the_keys_of_the_old_one() -> None:
    assert tree("{a: {type: x, b: 1}}").put(["a", "type"], tree("y")).plain() == {"a": {"type": "y"}}


def test_written() -> None:
    assert written(("objective", "terms", 1, "hint")) == "objective.terms[1].hint"
    assert written((0, "a b", "")) == '[0]."a b".""'
    assert written(()) == ""

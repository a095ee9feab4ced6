"""The small wrong changes of `benchmarks/mutations.py`: each is one edit, and texts and types are left alone."""

import runpy
from pathlib import Path
from typing import Any

import pytest

MUTATIONS: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "mutations.py"))


def found(tmp_path: Path, source: str) -> list[tuple[str, str]]:
    """Return operator and text of every mutant of a source; each is another program than all others."""
    path = tmp_path / "a.py"
    path.write_text(source)
    mutants = MUTATIONS["mutants"](path, tmp_path)
    programs = {m.applied(path.read_bytes()) for m in mutants}
    assert len(programs) == len(mutants) == len({m.name(path.read_bytes()) for m in mutants})
    return [(m.operator, m.text) for m in mutants]


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("return a < b", [("return", "None"), ("comparison", "(a <= b)")]),
        ("b[0] = a - 2", [("statement", "pass"), ("constant", "1"), ("arithmetic", "(a + 2)"), ("constant", "3")]),
        ("a *= b", [("arithmetic", "a /= b"), ("statement", "pass")]),
        ("c = a and not b", [("and/or", "(a or not b)"), ("not", "(b)")]),
        ("a = b[1:a]", [("statement", "pass"), ("slice", "(1 + 1)"), ("slice", "(a + 1)")]),
        ("c = a(b, k=b)", [("keyword", "(a(b))")]),
        ("c = a(b, k=True)", [("constant", "False")]),
        ("c = 1 if a else b", [("condition", "(not a)"), ("constant", "2")]),
        ("raise ValueError(f'{a + 1} is {a > b}')", [("statement", "pass")]),
        ("c = ValueError(a + 1)", []),
        ("'A text.'", []),
    ],
)
def test_one_edit_each(tmp_path: Path, line: str, mutants: list[tuple[str, str]]) -> None:
    assert sorted(found(tmp_path, f"def f(a: int, b):\n    {line}\n")) == sorted(mutants)


@pytest.mark.parametrize(("type_", "text"), [("float", "(-a)"), ("bool", "(not a)"), ("str", "None")])
def test_what_is_returned(tmp_path: Path, type_: str, text: str) -> None:
    assert found(tmp_path, f"def f(a) -> {type_}:\n    return a\n") == [("return", text)]


def test_outside_functions_numbers_and_keywords_alone(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nA = int | None\n\nclass B:\n    '''1'''\n    c: list[1] = F(3, ge=1)\n"
    )
    assert found(tmp_path, source) == [("keyword", "(F(3))"), ("constant", "4"), ("constant", "2")]


def test_a_change_elsewhere_leaves_the_order_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    orders = []
    for before in ("", "x = 1\n\n"):
        path.write_text(before + "def f(a, b):\n    return [a + 1, b - 1, 'ü' * 2, a + 1]\n")
        drawn = [(m.drawn(path.read_bytes(), 0), m) for m in MUTATIONS["mutants"](path, tmp_path) if m.scope]
        orders.append([(m.text, m.nth) for _, m in sorted(drawn)])
    assert orders[0] == orders[1]
    assert len(orders[0]) == 9


def test_marks_tell_what_is_executed(tmp_path: Path) -> None:
    source = "'''Doc.'''\ndef f(a):\n    '''Doc.'''\n    if a:\n        return 1\n    else:\n        return 2\n"
    seen: list[tuple[str, int]] = []
    names: dict[str, Any] = {"__mark__": lambda path, line: seen.append((path, line))}
    exec(MUTATIONS["marked"](source, "a.py"), names)
    assert (names["f"](0), names["f"].__doc__, names["__doc__"]) == (2, "Doc.", "Doc.")
    assert seen == [("a.py", 0), ("a.py", 4), ("a.py", 7)]

"""YAML text in and out, with the place of everything and bounds on everything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.config.yaml import parse, write
from sdsearch.errors import SpecError


def plain(text: str) -> object:
    problems: list[str] = []
    value = parse(text, "x.yaml", problems).plain()
    assert problems == []
    return value


def problems_of(text: str) -> list[str]:
    problems: list[str] = []
    parse(text, "x.yaml", problems)
    return problems


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(text, "x.yaml", [])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-1.5e+2", -150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("+7", 7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("~", None),
        ("", None),
        ("null", None),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("1e", "1e"),
        ("-", [None]),
        ("0x", "0x"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_knows_its_place() -> None:
    root = parse("a:\n  b: [1,\n      {c: 2}]\n", "x.yaml", [])
    inner = root.value["a"].value["b"].value[1]
    assert str(root.place) == "x.yaml:1:1"
    assert str(root.value["a"].keys["b"]) == "x.yaml:2:3"
    assert str(inner.place) == "x.yaml:3:7"
    assert str(inner.keys["c"]) == "x.yaml:3:8"
    assert str(inner.value["c"].place) == "x.yaml:3:11"
    assert str(parse("1", "--set a=1", [], inline=True).place) == "--set a=1"


def test_anchors_and_merge_keys() -> None:
    assert plain("a: &x {p: 1, q: 2}\nb: *x\n") == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2}}
    assert plain("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n")["b"] == {"p": 1, "q": 3}  # type: ignore[index]
    assert plain("a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}\n")["c"] == {"p": 1, "q": 2}  # type: ignore[index]
    assert problems_of("a: {<<: 3}") == ["x.yaml:1:9: a: `<<` takes a mapping or a list of mappings"]


def test_single_values_that_are_wrong() -> None:
    text = "a: 1\nb: {c: 1, c: 2}\na: 3\nd: !!python/name:os.system x\n? [1]\n: 2\ne: !mine 4\n'f g': !!int x\n"
    assert problems_of(text) == [
        "x.yaml:2:11: b.c: duplicate key, first written at x.yaml:2:5",
        "x.yaml:3:1: a: duplicate key, first written at x.yaml:1:1",
        'x.yaml:4:4: d: the tag "tag:yaml.org,2002:python/name:os.system" is not supported, expected plain YAML',
        "x.yaml:5:3: a key is a list or a mapping, expected text",
        'x.yaml:7:4: e: the tag "!mine" is not supported, expected plain YAML',
        'x.yaml:8:8: "f g": got "x", expected int of at most 100 characters',
    ]
    assert problems_of("a: " + "9" * 101)[0].endswith("expected int of at most 100 characters")
    assert problems_of('a: "\\ud800"') == ["x.yaml:1:4: a: half a character (a lone surrogate), expected whole ones"]


@pytest.mark.parametrize("tag", ["!!binary", "!!set", "!!timestamp", "!!omap", "!!python/object/apply:os.system"])
def test_no_tag_makes_anything_but_plain_values(tag: str) -> None:
    assert "is not supported" in problems_of(f"a: {tag} {{}}")[0]
    assert "is not supported" in problems_of(f"a: {tag} x")[0]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a: [1\nb: 2", "x.yaml:2:2", "(begun at 1:4), "),
        ("a: 1\n---\nb: 2", "x.yaml:2:1", "; write each spec into a file of its own"),
        ("a: *b", "x.yaml:1:4", ""),
        ("a: 1\nb: \x07", "x.yaml:2:4", ""),
        ("a: 1\n\tb: 2", "x.yaml:2:1", "; indent with spaces, not tabs"),
        ("a: %x", "x.yaml:1:4", "; text that begins with this character needs quotes"),
        ('a: "\\U00110000"', "x.yaml", ""),
    ],
)
def test_text_that_is_not_yaml(text: str, place: str, says: str) -> None:
    """The sentences are the parser's; where, and what to do, is ours."""
    said = refusal(text)
    assert said.startswith(f"{place}: not valid YAML: ")
    assert says in said and "\n" not in said


def test_sizes_are_bounded() -> None:
    assert "nested deeper than 50" in refusal("[" * 60)
    assert "nested deeper than 50" in refusal("[" * 100_000)
    assert "more than 5000 values, 262144 characters or 50 levels" in refusal("a: &a [*a]")
    assert refusal("[" + "a," * 12_000 + "]") == "x.yaml:1:20000: not valid YAML: more than 5000 values"
    assert refusal("x" * 300_000) == "x.yaml: got 300000 characters, expected at most 262144"
    assert "262144 characters" in refusal(f"a: &a {'x' * 200_000}\nb: *a")
    assert plain("[" + "a," * 4_999 + "]") == ["a"] * 4_999
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than 5000 values, 262144 characters or 50 levels, aliases counted in full" in refusal(laughs)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**90), 10**90) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_what_is_written_reads_back(value: object) -> None:
    assert plain(write(value)) == value


@settings(deadline=None)
@given(st.text())
def test_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "x.yaml", [])
    except SpecError as error:
        assert str(error).startswith("x.yaml:")

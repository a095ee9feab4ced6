"""Specs that mean harm: whatever is in a file, the loader ends soon, runs nothing, and raises its own error or none."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sdsearch
from sdsearch.config.load import load_any
from sdsearch.config.yaml import LARGEST, MOST_VALUES, parse, write
from sdsearch.errors import SpecError

SECONDS = 10
"""Of processor time for one spec: they take about one."""

ROOM = LARGEST - 400
WHOLE = "data: {train: atlas, test: atlas}\nenvironment: {retriever: {type: bm25, corpus: atlas}}\nagent: scripted\n"
SHIPPED = [p.read_bytes() for p in sorted((Path(sdsearch.__file__).parent / "specs").rglob("*.yaml"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a folder from which a module can be imported that must never run."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "bomb.py").write_text("raise SystemExit('run')\nclass Bomb: ...\n")
    (folder / "low.yaml").write_text(WHOLE)
    os.mkfifo(folder / "pipe.yaml")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    yield folder
    patch.undo()


def attack(folder: Path, content: bytes | str, *overrides: str) -> str:
    """Return what is said about a spec, nothing if it loads."""
    (folder / "x.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    started, said = time.process_time(), ""
    try:
        load_any("x.yaml", overrides)
    except SpecError as error:
        said = str(error)
        assert said
        said.encode()
        assert len(said) < 200_000
    assert time.process_time() - started < SECONDS
    return said


def terms(*names: str) -> str:
    return f"{WHOLE}objective: {{terms: [{', '.join(names)}]}}"


CASES: dict[str, tuple[bytes | str, str]] = {
    "unknown components": (terms(*["a"] * (MOST_VALUES - 50)), 'unknown term "a", expected one of cispo, clipped_pg, '),
    "dotted components": (terms(*["json.decoder:X"] * (MOST_VALUES - 50)), 'json.decoder has no term "X"'),
    "long dotted path": (terms("json." * 40 + "a:b"), "unknown term"),
    "unknown keys": (f"{WHOLE}objective: {{{', '.join(f'k{i}: 1' for i in range(MOST_VALUES - 50))}}}", "unknown key"),
    "a bomb": (WHOLE.replace("scripted", "bomb:Bomb"), 'bomb has no agent "Bomb"'),
    "a module that acts": (WHOLE.replace("scripted", "antigravity:fly"), 'antigravity has no agent "fly"'),
    "a function": (WHOLE.replace("scripted", "os:system"), 'os has no agent "system"'),
    "a tag that calls": (f"{WHOLE}x: !!python/object/apply:os.system [touch run]", "is not supported"),
    "a tag that imports": (f"{WHOLE}x: !!python/module:bomb ''", "is not supported"),
    "laughs": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        f"more than {MOST_VALUES} values",
    ),
    "one scalar many times": (f"a: &a '{'y' * 200_000}'\nb: [{', '.join(['*a'] * 4000)}]", f"{LARGEST} characters"),
    "an alias of itself": ("a: &a [*a]", "50 levels"),
    "merges": (
        "".join(f"m{i}: &m{i} {{k{i}: 1}}\n" for i in range(1200))
        + f"b: {{<<: [{','.join(f'*m{i}' for i in range(1200))}]}}",
        "unknown key",
    ),
    "huge word": (WHOLE.replace("scripted", "y" * 200_000), "unknown agent"),
    "huge key": (f"? {'k' * 100_000}\n: [{','.join(['!x 1'] * 4000)}]", "is not supported"),
    "huge number": (f"{WHOLE}seed: {'9' * 200_000}", "expected int of at most 100 characters"),
    "huge version": (f"%YAML {'1' * 200_000}", "not valid YAML"),
    "no such character": ('a: "\\UFFFFFFFF"', "not valid YAML"),
    "infinite": (f"{WHOLE}train: {{learning_rate: .inf}}", "got Infinity, expected a finite number"),
    "not a number": (f"{WHOLE}train: {{learning_rate: .nan}}", "got NaN, expected a finite number"),
    "brackets": ("[" * ROOM, "nested deeper than 50"),
    "dashes": ("- " * (ROOM // 2), "nested deeper than 50"),
    "question marks": ("? " * (ROOM // 2), "nested deeper than 50"),
    "pairs": ("{" + "a," * (ROOM // 2), f"more than {MOST_VALUES} values"),
    "spaces": (" " * ROOM, "got nothing, expected a mapping of sections"),
    "lines": ("\n" * ROOM, "got nothing, expected a mapping of sections"),
    "comments": ("#\n" * (ROOM // 2), "got nothing, expected a mapping of sections"),
    "quotes": ("'" * ROOM, "expected a mapping of sections"),
    "zeros": (b"\0" * ROOM, "x.yaml:1:1: not valid YAML: special characters are not allowed"),
    "no text": (b"a: 1\nb: \xff", "x.yaml:2:4: byte 8 (0xff) is not UTF-8"),
    "too large": (" " * (LARGEST + 1), f"larger than {LARGEST} bytes"),
    "a pipe": ("base: pipe.yaml", "pipe.yaml: is no file"),
    "a device": ("base: /dev/zero", "/dev/zero: is no file"),
    "a folder": ("base: .", "is no file"),
    "a zero in a path": ('base: "a\\0b"', "cannot be read"),
    "a long path": (f"base: {'a' * 10_000}", "cannot be read"),
    "itself": ("base: x.yaml", "is based on itself"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_attack_is_refused(folder: Path, name: str) -> None:
    content, said = CASES[name]
    assert said in attack(folder, content)
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    "override",
    [
        "objective.terms." + "9" * 5000 + "=1",
        "train." + "a." * 60 + "b=1",
        "x=" + "[" * 100_000,
        "x=&a [*a]",
        "x=!!python/object/apply:os.system [touch run]",
        "agent=bomb:Bomb",
        "base=pipe.yaml",
        "x=" + "y" * (LARGEST + 1),
        "=",
        "",
        "\0=\0",
    ],
)
def test_an_override_is_refused(folder: Path, override: str) -> None:
    assert attack(folder, terms("clipped_pg"), override).startswith("--set ")
    assert not (folder / "run").exists()


def test_bases_share_one_size(folder: Path) -> None:
    half = "#" * (LARGEST // 2)
    (folder / "half.yaml").write_text(WHOLE + half)
    assert attack(folder, f"base: low.yaml\n{half}") == ""
    assert f"expected {LARGEST} at most of a spec and its bases" in attack(folder, f"base: half.yaml\n{half}")
    for i in range(10):
        (folder / f"b{i}.yaml").write_text(f"base: b{i + 1}.yaml")
    (folder / "b10.yaml").write_text(WHOLE)
    assert "on more than 8 others" in attack(folder, "base: b0.yaml")
    assert attack(folder, "base: b3.yaml") == ""


TRIES = int(os.environ.get("SDSEARCH_FUZZ", "600")) // 10
fuzz = settings(deadline=None, max_examples=TRIES, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes(folder: Path, content: bytes) -> None:
    assert attack(folder, content)


WORDS = ["bomb", "bomb:Bomb", "os:system", "antigravity:fly", "warmstart", "low.yaml", "x.yaml", "pipe.yaml", "1e999"]
WORDS += ["-.inf", ".nan", "~", "9" * 50, "!!python/name:os.system", "!!binary", "&a", "*a", "<<", "\ud7ff", "\u202e"]
WORDS += ["kind", "base", "name", "type", "data", "train", "agent", "objective", "terms", "retriever", "\\UFFFFFFFF"]
pieces = st.sampled_from([*"{}[]'\"#|>?!&*%@`\n\t,:-", ": ", "  ", "- ", "\n  ", *WORDS])


@fuzz
@given(st.lists(pieces, max_size=60).map("".join))
def test_what_looks_like_yaml(folder: Path, content: str) -> None:
    attack(folder, content)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Draw a spec that comes along, with parts cut out, doubled or replaced."""
    content = draw(st.sampled_from(SHIPPED))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 20)))
        put = draw(
            st.sampled_from([b"", content[start:stop] * 2])
            | st.sampled_from(WORDS).map(str.encode)
            | st.binary(max_size=3)
        )
        content = content[:start] + put + content[stop:]
    return content


@fuzz
@given(mutations())
def test_a_spec_that_was_tampered_with(folder: Path, content: bytes) -> None:
    attack(folder, content)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@fuzz
@given(st.sampled_from(SHIPPED), st.lists(values, max_size=3), st.data())
def test_values_that_do_not_belong(folder: Path, content: bytes, odd: list[object], data: st.DataObject) -> None:
    tree = parse(content.decode(), "", []).plain()
    for value in odd:
        inside = tree
        while isinstance(inside, dict | list) and inside:
            key = data.draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
            if not isinstance(inside[key], dict | list) or not inside[key] or data.draw(st.booleans()):
                inside[key] = value
                break
            inside = inside[key]
    tree.pop("base", None)
    attack(folder, write(tree))

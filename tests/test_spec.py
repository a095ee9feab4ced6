"""Loading a spec, and what is said about a wrong one."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from sdsearch.agents.scripted import Scripted
from sdsearch.config.component import Component, Settings
from sdsearch.config.discovery import FOLDERS
from sdsearch.config.scalars import MOST
from sdsearch.config.yaml import parse, write
from sdsearch.contracts.families import FAMILIES
from sdsearch.contracts.loss import Schedule
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.reward.exact_match import ExactMatch
from sdsearch.envs.search import Search
from sdsearch.errors import SpecError
from sdsearch.spec import Data, Evaluate, Experiment, Train, load

TOYS = """
from pathlib import Path
from typing import Literal

from sdsearch.contracts.data import Dataset
from sdsearch.core.question import Hit, Passage, Question
from sdsearch.contracts.retrieval import Retriever


class Toy(Dataset):
    text: str = ""
    shares: tuple[float, ...] = ()
    named: dict[str, int] = {}
    file: Path | None = None

    def questions(self):
        return [Question("1", "capital of France?", ("Paris",))]


class Nothing(Retriever):
    depth: int = 1
    mode: Literal["near", "far"] = "near"
    inner: Retriever | None = None

    def open(self):
        return self

    def search(self, queries, k):
        return [[Hit(Passage("p", "France", "The capital of France is Paris."), 1.0)][:k] for _ in queries]
"""

SMALL = """\
data:
  train: toys:Toy
  test: {type: "toys:Toy", text: held out}
environment:
  retriever: {type: "toys:Nothing", depth: 2}
agent: scripted
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Make small components, named by dotted path."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toys.py").write_text(TOYS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("toys")
    sys.path.remove(str(folder))
    del sys.modules["toys"]


@pytest.fixture
def folder(tmp_path: Path, toys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a correct spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def lines(name: str, *overrides: str, model: type[BaseModel] = Experiment) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(name, overrides, model=model)
    return str(caught.value).splitlines()


def test_a_spec_becomes_an_experiment_with_defaults(folder: Path, toys: Any) -> None:
    found = load("small.yaml")
    assert found == Experiment(
        name="small",
        data=Data(train=toys.Toy(), test=toys.Toy(text="held out")),
        environment=Search(retriever=toys.Nothing(depth=2), protocol=SearchR1(), reward=ExactMatch()),
        agent=Scripted(),
    )
    assert (found.seed, found.objective, found.train, found.evaluate) == (0, None, Train(), Evaluate())
    assert isinstance(found.environment, Search)
    assert (found.environment.max_turns, found.environment.top_k, found.environment.on_invalid) == (5, 3, "retry")
    assert str(found.folder) == "runs/small/0"


def test_every_field_of_every_section_is_described() -> None:
    bare = [
        f"{section.__name__}.{name}"
        for section in (Experiment, Data, Search, Train, Evaluate)
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert bare == []


def test_families_are_sorted() -> None:
    names = list(FAMILIES)
    assert names == sorted(names)
    contracts = [c for c in Component.__subclasses__() if c.__module__.startswith("sdsearch.contracts.")]
    assert set(names) == {c.family for c in contracts} == set(FOLDERS)
    assert {"agent", "corpus", "credit", "dataset", "embedder", "hint", "protocol", "retriever", "term"} <= set(names)


def test_base_and_overrides(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "more.yaml").write_text(
        "base: ../small.yaml\nname: more\ntrain: {learning_rate: 1e-3}\nenvironment: {retriever: {mode: far}, top_k: 7}"
    )
    found = load("deep/more.yaml", ["environment.retriever.depth=4", "train.betas=[0.8, 0.9]", "seed=3", "out=a b"])
    assert isinstance(found.environment, Search)
    retriever = found.environment.retriever.model_dump()
    assert retriever == {"type": "toys:Nothing", "depth": 4, "mode": "far", "inner": None}
    assert (found.name, found.seed, str(found.out)) == ("more", 3, "a b")
    assert (found.environment.top_k, found.train.learning_rate, found.train.betas) == (7, 0.001, (0.8, 0.9))


def test_the_name_is_never_that_of_the_base(folder: Path) -> None:
    (folder / "named.yaml").write_text(f"name: first\n{SMALL}")
    (folder / "odd name.yaml").write_text("base: named.yaml\n")
    assert load("named.yaml").name == "first"
    assert load("odd name.yaml").name == "odd_name"
    assert load("odd name.yaml", ["name=mine"]).name == "mine"


def test_list_items_are_overridden_by_index(folder: Path) -> None:
    (folder / "learn.yaml").write_text(
        "base: small.yaml\nobjective:\n  credit: [group_mean]\n  terms: [clipped_pg, {type: entropy, weight: 0.5}]\n"
    )
    found = load("learn.yaml", ["objective.terms.1.weight=0.25", "objective.terms[0].clip=0.3"])
    assert found.objective is not None
    assert [t.type for t in found.objective.terms] == ["clipped_pg", "entropy"]
    assert found.objective.terms[1].weight == 0.25
    assert found.objective.terms[0].model_dump()["clip"] == 0.3


def test_every_problem_is_reported_at_once_with_its_place(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(
        """\
base: small.yaml
data:
  test: {type: "toys:Toy", txet: a}
environment:
  retriever: toys:Nothnig
  top_k: many
  on_invalid: retyr
agent: {type: scritped}
objective:
  terms:
    - {type: clipped_pg, clpi: 0.2}
    - {type: entropy, weight: {form_step: 50}}
    - {type: entropy, weight: [1]}
    - {weight: 1}
train: {steps: 0, max_outage_rate: 2, seed: 1, seed: 2}
trian: 3
"""
    )
    found = lines("wrong.yaml", "train.group=1.5", "objective.terms.9.weight=1", "environment.retriever.depht=1", "x")
    assert found[0] == "wrong.yaml:15:48: train.seed: duplicate key, first written at wrong.yaml:15:39"
    assert found[1] == '--set objective.terms.9.weight=1: "9" is no index of a list of 4, which count from 0'
    assert found[2] == "--set x: expected a path and a value, such as train.steps=3"
    rest = found[3:]
    assert rest[0] == (
        'wrong.yaml:3:28: data.test.txet: unknown key, expected one of text, shares, named, file; did you mean "text"?'
    )
    assert rest[1] == (
        'wrong.yaml:5:14: environment.retriever.type: toys has no retriever "Nothnig", expected one of Nothing; '
        'did you mean "Nothing"?'
    )
    assert rest[2] == 'wrong.yaml:6:10: environment.top_k: got "many", expected a whole number'
    assert rest[3] == (
        "wrong.yaml:7:15: environment.on_invalid: got \"retyr\", expected 'retry' or 'end'; did you mean \"retry\"?"
    )
    assert rest[4].startswith('wrong.yaml:8:15: agent.type: unknown agent "scritped", expected one of ')
    assert rest[4].endswith('or a dotted path; did you mean "scripted"?')
    assert rest[5].startswith("wrong.yaml:11:26: objective.terms[0].clpi: unknown key, expected one of ")
    assert rest[5].endswith('; did you mean "clip"?')
    assert rest[6] == (
        "wrong.yaml:12:32: objective.terms[1].weight.form_step: unknown key, expected one of "
        f'{", ".join(Schedule.model_fields)}; did you mean "from_step"?'
    )
    assert rest[7] == "wrong.yaml:13:31: objective.terms[2].weight: got a list of 1, expected a number or a mapping"
    assert rest[8].startswith("wrong.yaml:14:7: objective.terms[3]: `type` is missing, expected one of cispo, ")
    assert rest[9] == "wrong.yaml:15:16: train.steps: got 0, expected at least 1"
    assert rest[10] == "wrong.yaml:15:36: train.max_outage_rate: got 2, expected at most 1"
    assert rest[11].startswith("wrong.yaml:15:39: train.seed: unknown key, expected one of steps, source, phases, ")
    assert rest[12] == (
        "wrong.yaml:16:1: trian: unknown key, expected one of name, seed, out, environment, data, model, sampling, "
        'agent, teacher, objective, train, monitors, evaluate, base, kind; did you mean "train"?'
    )
    assert rest[13] == "--set train.group=1.5: train.group: got 1.5, expected a whole number"
    assert len(rest) == 14


def test_a_problem_of_the_base_is_placed_there(folder: Path) -> None:
    (folder / "small.yaml").write_text(SMALL.replace("depth", "dept"))
    (folder / "over.yaml").write_text("base: small.yaml\nseed: -1\n")
    assert lines("over.yaml") == [
        "over.yaml:2:7: seed: got -1, expected at least 0",
        "small.yaml:5:37: environment.retriever.dept: unknown key, expected one of depth, mode, inner; "
        'did you mean "depth"?',
    ]


def test_what_is_missing_is_described(folder: Path) -> None:
    (folder / "half.yaml").write_text("seed: 1\nenvironment:\n  top_k: 2\ndata: {train: 'toys:Toy'}\n")
    assert lines("half.yaml") == [
        "half.yaml:3:3: environment.retriever: missing: What is searched.",
        "half.yaml:4:7: data.test: missing: What it is judged by: the same questions in every evaluation. "
        "Several by name are judged apart.",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("name=a/b", 'name: got "a/b", expected letters and numbers of any script, `_`, `-` and `.`'),
        ("name=..", 'name: got "..", expected letters and numbers of any script, `_`, `-` and `.`'),
        ("name=2026", "name: got 2026, expected text"),
        ("data=3", "data: got 3, expected a mapping"),
        ("data=", "data: missing: The questions; none for an environment that makes its episodes from seeds."),
        ("agent=3", "agent: got 3, expected a mapping with `type`, or the name of one agent"),
        ("evaluate.greedy=maybe", 'evaluate.greedy: got "maybe", expected true or false'),
        ("train.learning_rate=.inf", "train.learning_rate: got Infinity, expected a finite number"),
        ("train.learning_rate=0", "train.learning_rate: got 0, expected more than 0"),
        ("train.betas=[0.9]", "train.betas[1]: got a list of 1, expected one item more"),
        ("train.betas=[x, 0.9]", 'train.betas[0]: got "x", expected a number'),
        ("objective={terms: []}", "objective.terms: got a list of 0, expected at least 1 items"),
        ("out=[]", "out: got a list of 0, expected a path"),
        ("environment.retriever.inner=toys:Tow", "environment.retriever.inner: toys has no retriever"),
        ("environment.reward.type=no_such", 'environment.reward.type: unknown reward "no_such", expected one of'),
        ("data.train.named={a: b}", 'data.train.named.a: got "b", expected a whole number'),
        ("data.train.named={a: true}", "data.train.named.a: got true, expected a whole number"),
        ("data.train.shares=[0.5, -1e13]", "data.train.shares[1]: got -10000000000000.0, expected at least -1e+12"),
        ("agent.typ=x", "agent.typ: unknown key, expected one of wrong_query"),
        ("seed=[", "not valid YAML: while parsing a flow node, expected the node content, but found '<stream end>'"),
    ],
)
def test_one_wrong_override(folder: Path, override: str, said: str) -> None:
    (found,) = lines("small.yaml", override)
    assert found.startswith(f"--set {override}: {said}")


def test_a_word_may_be_no(folder: Path) -> None:
    (folder / "no.yaml").write_text(f"{SMALL}train: {{precision: no}}\n")
    assert load("no.yaml").train.precision == "no"


def test_a_rule_over_several_fields_is_placed_at_their_section(folder: Path) -> None:
    class Range(Settings):
        low: int
        high: int

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.low > self.high:
                raise ValueError(f"got low {self.low} above high {self.high}")
            return self

    class Ranges(Settings):
        first: Range

    (folder / "range.yaml").write_text("low: 2\nhigh: 1\n")
    assert lines("range.yaml", model=Range) == ["range.yaml:1:1: got low 2 above high 1"]
    (folder / "ranges.yaml").write_text("first: {low: 2, high: 1}\n")
    assert lines("ranges.yaml", model=Ranges) == ["ranges.yaml:1:8: first: got low 2 above high 1"]


def test_any_model_can_be_loaded(folder: Path) -> None:
    class Shape(Settings):
        width: int

    (folder / "shape.yaml").write_text("width: 3\n")
    assert load("shape.yaml", ["width=4"], model=Shape) == Shape(width=4)
    assert lines("shape.yaml", "widht=4", model=Shape) == [
        '--set widht=4: widht: unknown key, expected one of width, base, kind; did you mean "width"?'
    ]


words = st.text(max_size=8)
numbers = st.floats(1e-12, 1e3)


@settings(deadline=None)
@given(
    text=st.text(),
    shares=st.lists(st.floats(-MOST, MOST), max_size=3),
    named=st.dictionaries(words, st.integers(-MOST, MOST), max_size=3),
    file=st.none() | st.just("a/b.txt"),
    rate=st.floats(1e-12, 10),
    weight=numbers | st.fixed_dictionaries({"from_step": st.integers(0, 9), "value": numbers}),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_dump_loads_back(
    toys: ModuleType, tmp_path_factory: pytest.TempPathFactory, rate: float, weight: object, seed: int, **toy: object
) -> None:
    first = Experiment.model_validate(
        {
            "name": "round-trip",
            "seed": seed,
            "data": {"train": {"type": "toys:Toy", **toy}, "test": "toys:Toy"},
            "environment": {"retriever": {"type": "toys:Nothing", "inner": "toys:Nothing"}},
            "agent": {"type": "scripted", "misread": min(rate, 1.0)},
            "objective": {
                "credit": ["group_mean"],
                "terms": [{"type": "distill", "hint": "hindsight", "weight": weight}, "clipped_pg"],
            },
            "train": {"learning_rate": rate},
        }
    )
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(first.dump(), encoding="utf-8")
    again = load(path)
    assert again == first
    assert again.dump() == first.dump()


marks = [*"{}[]'\"#|?\n\t\0", ": ", "  ", "- ", ", ", "*a", "&a ", "<<: ", "!!int ", "1e3", "base: ", "x.yaml"]
pieces = st.sampled_from(marks) | st.sampled_from(["name", "type", "agent", "scripted", "data", "train", "objective"])


@settings(deadline=None)
@given(st.lists(pieces, max_size=30).map("".join) | st.text(), st.lists(st.text(max_size=20), max_size=2))
def test_no_text_raises_anything_but_a_spec_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, overrides: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(SpecError) as caught:
        load(path, overrides)
    assert str(caught.value)
    str(caught.value).encode()


FULL = """\
name: full
seed: 1
out: runs
data: {train: "toys:Toy", test: {type: "toys:Toy", text: a, shares: [0.5], named: {b: 1}, file: c}}
environment: {retriever: {type: "toys:Nothing", inner: "toys:Nothing"}, max_turns: 3, on_invalid: end}
agent: {type: scripted, misread: 0.1}
objective:
  credit: [group_mean]
  terms: [{type: distill, hint: {type: hindsight}, weight: {from_step: 1, value: 1e-3}}, {type: clipped_pg}]
train: {steps: 1, betas: [0.9, 0.99], precision: no}
evaluate: {greedy: true}
"""


def paths(value: object, path: str = "") -> Iterator[str]:
    """Give the path of every value inside, as an override writes it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield f"{path}{key}"
        yield from paths(inner, f"{path}{key}.")


EVERY = sorted(paths(parse(FULL, "", []).plain()))
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("toys:Nothing"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "x"]), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@example(changes=[("data.test.named.b", False)])
@given(changes=st.lists(st.tuples(st.sampled_from(EVERY), odd), min_size=1, max_size=3))
def test_no_value_raises_anything_but_a_spec_error(
    toys: ModuleType, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "full.yaml"
    path.write_text(FULL)
    try:
        found = load(path, [f"{where}={write(value)}" for where, value in changes])
    except SpecError as error:
        # What objects to the whole is named where it stands, whatever changed round it.
        assert "--set " in str(error) or re.match(r".*full\.yaml:\d+:\d+: objective\.", str(error))
    else:
        path.write_text(found.dump(), encoding="utf-8")
        assert load(path) == found


def test_what_objects_is_named_with_its_place(toys: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    terms = "[{type: distill, hint: null}, {type: distill, hint: hindsight, teacher: external}]"
    with pytest.raises(SpecError) as raised:
        load(path, [f"objective={{credit: [group_mean], terms: {terms}}}", "train={group: 1}"])
    said = str(raised.value)
    assert "objective: a component asks for `teacher: external`, and the spec has no `teacher`" in said
    assert "objective.terms[0]: distill: without a hint the live teacher is the policy itself" in said
    assert "objective.credit[0]: group_mean: train.group is 1" in said
    assert "objective.credit: no term heeds it" in said
    assert len(said.splitlines()) == 4

"""Kinds of specs, and all that is wrong with one at once."""

from pathlib import Path

import pytest

from sdsearch.config.component import Settings
from sdsearch.config.load import DEFAULT_TYPES, KINDS, kind_of, load_any, load_as, model_of
from sdsearch.errors import SpecError
from sdsearch.spec import Experiment
from sdsearch.warmstart.spec import WarmStart

WHOLE = """\
data: {train: atlas, test: atlas}
environment: {retriever: {type: bm25, corpus: atlas}}
agent: scripted
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a spec of each kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.yaml").write_text(WHOLE)
    (tmp_path / "warm.yaml").write_text(f"kind: warmstart\nout: weights\nhint: hindsight\n{WHOLE}")
    return tmp_path


def told(path: str, *overrides: str, model: type[Settings] | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_as(model, path, overrides) if model else load_any(path, overrides)
    return str(caught.value).splitlines()


def test_every_kind_has_a_model() -> None:
    assert {kind: kind_of(model_of(kind)) for kind in KINDS} == {kind: kind for kind in KINDS}
    assert kind_of(Settings) is None


def test_a_spec_is_an_experiment_unless_it_names_another_kind(folder: Path) -> None:
    plain, warm = load_any("plain.yaml"), load_any("warm.yaml")
    assert (plain.kind, type(plain.spec)) == ("experiment", Experiment)
    assert (warm.kind, type(warm.spec)) == ("warmstart", WarmStart)
    assert "kind" not in plain.plain()
    assert next(iter(warm.plain().items())) == ("kind", "warmstart")
    (folder / "over.yaml").write_text("base: warm.yaml\nseed: 3\n")
    assert load_any("over.yaml").kind == "warmstart"
    assert load_any("plain.yaml", ["kind=experiment"]).spec == plain.spec


def test_a_kind_that_is_none_and_one_that_is_not_wanted(folder: Path) -> None:
    assert told("warm.yaml", "kind=warmstrat", "x") == [
        "--set x: expected a path and a value, such as train.steps=3",
        f'--set kind=warmstrat: kind: unknown kind "warmstrat", expected one of {", ".join(KINDS)}; '
        'did you mean "warmstart"?',
    ]
    assert told("warm.yaml", "kind=[1]")[0].startswith("--set kind=[1]: kind: unknown kind a list of 1, expected one")
    assert told("warm.yaml", model=Experiment) == ['warm.yaml:1:7: kind: got "warmstart", expected "experiment"']
    assert told("plain.yaml", "kidn=warmstart")[0].endswith('; did you mean "kind"?')


def test_problems_of_a_file_are_kept_when_its_base_cannot_be_read(folder: Path) -> None:
    (folder / "two.yaml").write_text("base: gone.yaml\nname: a\nname: b\n")
    assert told("two.yaml") == [
        "two.yaml:3:1: name: duplicate key, first written at two.yaml:2:1",
        "two.yaml:1:1: base: gone.yaml: cannot be read: No such file or directory",
    ]


def test_of_very_many_problems_the_first_hundred_are_listed(folder: Path) -> None:
    (folder / "many.yaml").write_text(WHOLE + "".join(f"k{i}: 1\n" for i in range(250)))
    found = told("many.yaml")
    assert len(found) == 101
    assert found[0].startswith("many.yaml:4:1: k0: unknown key, expected one of name, seed, ")
    assert found[100] == "... and 150 more"


OTHER = """
from sdsearch.contracts.environment import Environment
from sdsearch.envs.protocol.search_r1 import SearchR1


class Other(Environment):
    most: int = 8

    @property
    def grammar(self):
        return SearchR1()

    @property
    def seeds(self):
        return 500

    def open(self):
        raise NotImplementedError
"""


def test_another_type_replaces_a_section_that_says_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other_place.py").write_text(OTHER)
    monkeypatch.syspath_prepend(folder)
    other = "environment: {type: 'other_place:Other', most: 3}\n"
    (folder / "high.yaml").write_text(f"base: plain.yaml\ndata:\n{other}")
    (folder / "higher.yaml").write_text("base: high.yaml\nenvironment: {max_turns: 2}\n")
    (folder / "study.yaml").write_text(
        "kind: study\nexperiment: train.yaml\nreference: a\nseeds: [1]\nbudget: {rollouts: 9}\narms: {a: {data: null, "
        f"{other.strip()}}}}}\n"
    )
    (folder / "train.yaml").write_text(
        WHOLE.replace("agent: scripted", "objective: {credit: [group_mean], terms: [clipped_pg]}")
    )
    from sdsearch.study.spec import jobs

    whole = load_as(Experiment, "plain.yaml", ["data=", "environment={type: 'other_place:Other', most: 3}"])
    assert whole.environment.model_dump() == {"type": "other_place:Other", "max_turns": 5, "most": 3}
    assert load_as(Experiment, "high.yaml").environment == whole.environment
    assert load_as(Experiment, "higher.yaml").environment.max_turns == 2
    assert load_as(Experiment, "plain.yaml", ["environment.type=search"]).environment.type == "search"
    assert load_as(Experiment, "plain.yaml", ["environment.top_k=2"]).environment.top_k == 2  # type: ignore[attr-defined]
    (job,) = jobs(load_any("study.yaml"))
    assert job.experiment.environment == whole.environment


def test_the_default_types_are_those_of_the_families() -> None:
    from sdsearch.contracts.families import FAMILIES

    assert {name: FAMILIES[name].default for name in DEFAULT_TYPES} == DEFAULT_TYPES

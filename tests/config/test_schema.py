"""The JSON schema of a spec: it is one, every spec that comes along fits it, broken ones do not."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

import sdsearch
from sdsearch.cli import app
from sdsearch.config.discovery import FOLDERS, known
from sdsearch.config.load import KINDS
from sdsearch.config.schema import compose
from sdsearch.config.yaml import parse
from sdsearch.contracts.families import FAMILIES
from sdsearch.errors import SpecError
from sdsearch.spec import Experiment

FOLDER = Path(sdsearch.__file__).parent / "specs"
SPECS = sorted(FOLDER.rglob("*.yaml"))


@cache
def validator(kind: str = "experiment") -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(compose(kind))


def written(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8"), str(path), []).plain()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_schema(kind: str) -> None:
    schema = compose(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    defined = {f"#/$defs/{name}" for name in schema["$defs"]}
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert used <= defined
    assert "x-family" not in text


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_spec_that_comes_along_fits(path: Path) -> None:
    spec = written(path)
    assert [e.message for e in validator(spec.get("kind", "experiment")).iter_errors(spec)] == []


WHOLE = """
data: {train: {type: atlas, hops: [2]}, test: atlas}
environment: {retriever: {type: bm25, corpus: atlas}}
model: {name: seed-policy}
objective:
  credit: [group_mean]
  terms: [clipped_pg, {type: distill, hint: hindsight, weight: {from_step: 5, value: 0.1}}]
"""


def test_a_whole_spec_and_an_outside_component_fit() -> None:
    assert validator().is_valid(yaml.safe_load(WHOLE))
    assert validator().is_valid(yaml.safe_load(WHOLE.replace("corpus: atlas", "corpus: my.shop:Corpus")))
    assert validator().is_valid(yaml.safe_load(WHOLE.replace("model:", "train: {steps: null, source: null}\nmodel:")))
    outside = WHOLE.replace("credit: [group_mean]", "credit: [{type: my.credit, anything: 1}]")
    assert validator().is_valid(yaml.safe_load(outside))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("model:", "modle:"),
        ("type: atlas, hops: [2]", "type: atlus"),
        ("hops: [2]", "hops: [9]"),
        ("hops: [2]", "hosp: [2]"),
        ("type: bm25, corpus: atlas", "type: bm25"),
        ("{type: bm25, corpus: atlas}", "bm25"),
        ("corpus: atlas", "corpus: minilm"),
        ("from_step: 5", "from_step: -5"),
        ("from_step: 5", "form_step: 5"),
        ("value: 0.1", "value: much"),
        ("hint: hindsight", "hint: {type: hindsight, order: backwards}"),
        ("credit: [group_mean]", "credit: group_mean"),
        ("credit: [group_mean]", "credit: [clipped_pg]"),
        ("terms: [", "terms: []\nx: ["),
        ("name: seed-policy", "name: seed-policy, context: 3"),
        ("model:", "seed: a\nmodel:"),
        ("model:", "kind: warmstart\nmodel:"),
        ("model:", "train: {steps: 0}\nmodel:"),
        ("model:", "train: null\nmodel:"),
        ("model:", "train: {group: null}\nmodel:"),
    ],
)
def test_a_broken_spec_does_not_fit(right: str, wrong: str) -> None:
    assert right in WHOLE
    assert not validator().is_valid(yaml.safe_load(WHOLE.replace(right, wrong, 1)))


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("{}", True),
        ("environment: {retriever: {ef_search: 3}}", True),
        ("environment: {retriever: {ef_serach: 3}}", False),
        ("environment: {retriever: {type: bm25}}", True),
        ("data: {test: {hops: [1]}}", True),
        ("data: {test: {hops: [7]}}", False),
        ("objective: {terms: [clipped_pg]}", True),
        ("objective: {terms: {0: {clip: 0.3}}}", True),
        ("objective: {terms: {0: {clpi: 0.3}}}", False),
        ("objective: {terms: {first: {clip: 0.3}}}", False),
        ("train: {betas: {1: 0.99}}", True),
        ("objective: {terms: [{clip: 0.2}]}", False),
        ("objective: {terms: [distill]}", False),
        ("agnet: {}", False),
    ],
)
def test_what_is_laid_on_a_base_may_be_a_part_but_lists_are_whole(text: str, fits: bool) -> None:
    spec = {"base": "x.yaml", **parse(text, "", []).plain()}
    assert validator().is_valid(spec) is fits


def test_types_descriptions_defaults_and_bounds_are_in_it() -> None:
    definitions = compose()["$defs"]
    for family in ("credit", "term", "hint", "retriever", "agent", "dataset"):
        named = [definitions[c["$ref"].rpartition("/")[2]] for c in definitions[family]["anyOf"] if "$ref" in c]
        assert sorted(n for d in named for n in d["properties"]["type"]["enum"]) == known(FAMILIES[family])
        assert all(d["properties"]["type"]["description"] for d in named)
        default = FAMILIES[family].default
        unnamed = [d["properties"]["type"]["enum"] for d in named if d["required"][0] != "type"]
        assert unnamed == ([[default]] if default in ("auto",) else []), "only the default may leave `type` out"
    steps = definitions["Train"]["properties"]["steps"]
    assert (steps["default"], steps["anyOf"]) == (
        100,
        [{"maximum": 10**8, "minimum": 1, "type": "integer"}, {"type": "null"}],
    )
    group = definitions["Train"]["properties"]["group"]
    assert (group["default"], group["minimum"], group["type"]) == (5, 1, "integer")
    assert steps["description"] == Experiment.model_fields["train"].annotation.model_fields["steps"].description  # type: ignore[union-attr]
    assert definitions["Hindsight"]["properties"]["order"]["enum"] == ["group", "random", "reward"]
    assert definitions["HCAPO"]["properties"]["hint"]["$ref"] == "#/$defs/hint"
    assert definitions["Distill"]["properties"]["hint"]["anyOf"] == [{"$ref": "#/$defs/hint"}, {"type": "null"}]


def test_a_component_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "torn.py").write_text(
        "import no_such_engine\nfrom sdsearch.contracts.environment import Reward\n\nclass Torn(Reward): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(FOLDERS, "reward", "rooms")
    schema = compose()
    assert 'needs the package \\"no_such_engine\\"' in json.dumps(schema["$defs"]["reward"])
    spec = yaml.safe_load(WHOLE.replace("environment: {", "environment: {reward: {type: torn, x: 1}, "))
    assert jsonschema.Draft202012Validator(schema).is_valid(spec)


def test_the_command_prints_it() -> None:
    assert json.loads(CliRunner().invoke(app, ["schema", "warmstart"]).stdout) == compose("warmstart")
    wrong = CliRunner().invoke(app, ["schema", "warmstrat"])
    assert (wrong.exit_code, wrong.stderr) == (
        1,
        f'unknown kind "warmstrat", expected one of {", ".join(KINDS)}; did you mean "warmstart"?\n',
    )
    with pytest.raises(SpecError):
        compose("")

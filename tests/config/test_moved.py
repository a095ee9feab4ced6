"""Keys of earlier specs: each is refused where it stands, with its new place, and all at once with the rest."""

from pathlib import Path

import pytest

from sdsearch.config.component import Settings
from sdsearch.errors import SpecError
from sdsearch.spec import Experiment, load
from sdsearch.warmstart.spec import WarmStart

SPEC = """\
name: old
data: {train: atlas, test: atlas}
environment: {retriever: {type: bm25, corpus: atlas}}
"""


def written(what: str) -> str:
    """Return a line of YAML that has an old key, or an old value of one."""
    path, _, value = what.partition("=")
    *above, key = path.split(".")
    text = f"{key}: {value or 1}"
    for name in reversed(above):
        text = f"{name}: {{{text}}}"
    return text


@pytest.mark.parametrize(
    ("model", "what"), [(model, what) for model in (Experiment, WarmStart) for what in model.moved]
)
def test_each_is_refused_with_its_new_place(tmp_path: Path, model: type[Settings], what: str) -> None:
    kind = "" if model is Experiment else "kind: warmstart\n"
    (tmp_path / "old.yaml").write_text(f"{kind}{SPEC}{written(what)}\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "old.yaml", model=model)
    line = 4 if model is Experiment else 5
    key = what.partition("=")[0]
    (said,) = (text for text in str(caught.value).splitlines() if model.moved[what] in text)
    assert said.startswith(f"{tmp_path / 'old.yaml'}:{line}:")
    assert f": {key}: " in said
    assert "unknown key" not in said


def test_all_of_them_at_once_and_what_else_is_wrong(tmp_path: Path) -> None:
    old = "agent: {type: local, model: m, temperature: 0.5}\ntrain: {stepz: 3, rollouts: {type: mixed}}\n"
    (tmp_path / "old.yaml").write_text(SPEC + old)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "old.yaml")
    said = [text.partition(": ")[2].partition(":")[0] for text in str(caught.value).splitlines()]
    assert said == ["agent.model", "agent.temperature", "agent.type", "train.rollouts.type", "train.stepz"]


def test_a_name_alone_is_an_old_value_too(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(SPEC + "agent: local\n")
    with pytest.raises(SpecError, match=r"old\.yaml:4:1: agent\.type: it is the default now"):
        load(tmp_path / "old.yaml")


@pytest.mark.parametrize("over", ["train.rollouts={type: tree, trees: 2, rounds: 2}", "agent=scripted", "agent=policy"])
def test_what_is_no_old_value_stays(tmp_path: Path, over: str) -> None:
    (tmp_path / "new.yaml").write_text(SPEC)
    assert load(tmp_path / "new.yaml", [over])


def test_overrides_are_looked_at_as_well(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(SPEC)
    with pytest.raises(
        SpecError, match=r"--set agent\.temperature=2: agent\.temperature: it is `sampling\.temperature`"
    ):
        load(tmp_path / "new.yaml", ["agent.temperature=2"])

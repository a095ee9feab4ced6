"""Paths and names in a spec, wherever the command is given."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sdsearch.config.component import Settings
from sdsearch.config.load import load_any, load_as
from sdsearch.config.scalars import Name, NameOrPath, OutPath, clean, expanded
from sdsearch.errors import CheckpointError, SpecError
from sdsearch.runs.folder import Run
from sdsearch.spec import load
from sdsearch.study.spec import jobs

SPEC = """
data: {train: {path: data/train.jsonl}, test: {path: ../test.jsonl}}
environment: {retriever: {type: bm25, corpus: {type: jsonl, path: corpus.jsonl}}}
objective: {credit: [group_mean], terms: [clipped_pg]}
"""


class Places(Settings):
    """Fields of every kind that names a place."""

    one: Path | None = None
    many: list[Path] = []  # noqa: RUF012
    named: dict[str, Path] = {}  # noqa: RUF012
    made: OutPath = Path("runs")
    model: NameOrPath = "a/b"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder beside the one that holds the specs."""
    for name in ("specs", "elsewhere", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/her")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    return tmp_path


def test_what_a_spec_reads_is_seen_from_the_file_that_holds_the_line(folder: Path) -> None:
    (folder / "specs" / "low.yaml").write_text(SPEC)
    (folder / "elsewhere" / "high.yaml").write_text("base: ../specs/low.yaml\ndata: {train: {path: mine.jsonl}}\n")

    def paths(spec: str, *changes: str) -> list[str]:
        found = load(spec, changes)
        assert found.data
        data, corpus = found.data, found.environment.retriever.corpus  # type: ignore[attr-defined]
        each = [str(part.path) for part in (data.train, data.test, corpus)]  # type: ignore[union-attr]
        return [path.replace(str(folder), "F") for path in each]

    low = ["F/specs/data/train.jsonl", "F/test.jsonl", "F/specs/corpus.jsonl"]
    assert paths("../specs/low.yaml") == paths(str(folder / "specs" / "low.yaml")) == low
    assert paths("../elsewhere/high.yaml") == ["F/elsewhere/mine.jsonl", *low[1:]]
    # What no file holds is seen from the folder in which the command is given.
    assert paths("../specs/low.yaml", "data.train.path=x.jsonl")[0] == "F/here/x.jsonl"


def test_a_run_finds_its_files_from_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "specs" / "low.yaml").write_text(SPEC)
    experiment = load("../specs/low.yaml")
    run = Run.begin(experiment).folder.absolute()
    monkeypatch.chdir(folder)
    there = load(run / "spec.yaml")
    assert there == experiment
    assert Run.begin(load("specs/low.yaml", ["out=here/runs"]), resume=True).folder.absolute() == run


def test_a_study_writes_specs_that_mean_the_same_beside_its_runs(folder: Path) -> None:
    (folder / "specs" / "low.yaml").write_text(SPEC)
    (folder / "elsewhere" / "study.yaml").write_text(
        "kind: study\nexperiment: $DOT/specs/low.yaml\nreference: a\nseeds: [1]\nbudget: {rollouts: 9}\n"
        "arms: {a: {}, b: {data: {train: {path: b.jsonl}}}}"
    )
    os.environ["DOT"] = ".."
    a, b = jobs(load_any("../elsewhere/study.yaml"))
    del os.environ["DOT"]
    assert a.written["data"]["train"] == {"path": f"{folder}/specs/data/train.jsonl"}
    assert b.written["data"]["train"] == {"path": f"{folder}/elsewhere/b.jsonl"}
    assert a.written["environment"]["retriever"]["corpus"] == {"type": "jsonl", "path": f"{folder}/specs/corpus.jsonl"}


def test_arms_are_called_in_any_script_without_a_dot(folder: Path) -> None:
    (folder / "specs" / "low.yaml").write_text(SPEC)
    study = folder / "specs" / "study.yaml"
    text = "kind: study\nexperiment: low.yaml\nreference: 甲\nseeds: [1]\nbudget: {rollouts: 9}\narms: {甲: {}, b: {}}"
    study.write_text(text)
    assert [str(job.experiment.folder) for job in jobs(load_any(study))] == ["runs/study/甲/1", "runs/study/b/1"]
    study.write_text(text.replace("b:", "v1.5:"))
    with pytest.raises(SpecError, match=r'study.yaml:6:.* got "v1.5", expected no dot'):
        load_any(study)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("~/a", "/home/her/a"),
        ("$DATA/a", "/data/a"),
        ("${DATA}b", "/datab"),
        ("${DATA:-/other}/a", "/data/a"),
        ("${UNSET:-~/a}", "/home/her/a"),
        ("${EMPTY:-b}/${UNSET:-}c", "b/c"),
        ("cost$$5", "cost$5"),
        ("$5", "$5"),
        ("a~b", "a~b"),
    ],
)
def test_the_home_folder_and_variables_are_written_out(folder: Path, written: str, path: str) -> None:
    spec = folder / "specs" / "x.yaml"
    spec.write_text(f'one: "{written}"\nmany: ["{written}"]\nnamed: {{k: "{written}"}}\nmade: "{written}"\n')
    found, whole = load_as(Places, spec), folder / "specs" / path
    assert (found.one, found.many, found.named, found.made) == (whole, [whole], {"k": whole}, Path(path))


@pytest.mark.parametrize(
    "written", ["$UNSET/a", "${UNSET}", "~nobody_of_this_name/a", "${UNSET:-~nobody_of_this_name}"]
)
def test_a_user_or_a_variable_that_is_not_there_is_told(folder: Path, written: str) -> None:
    spec = folder / "specs" / "x.yaml"
    spec.write_text(f'base: "{written}"\n')
    with pytest.raises(SpecError, match=r"x.yaml:1:1: base: got .*, expected a (variable|user) of"):
        load_as(Places, spec)
    spec.write_text(f'many:\n- a\n- "{written}"\nmade: "{written}"\n')
    with pytest.raises(SpecError) as caught:
        load_as(Places, spec)
    places = [line.replace(str(folder), "").partition(": got ")[0] for line in str(caught.value).splitlines()]
    assert places == ["/specs/x.yaml:2:1: many", "/specs/x.yaml:4:7: made"]


def test_a_model_is_a_name_or_a_path(folder: Path) -> None:
    spec = folder / "specs" / "x.yaml"

    def model(name: str) -> str:
        spec.write_text(f"model: {name}\n")
        return load_as(Places, spec).model.replace(str(folder), "F")

    assert [model(n) for n in ("a/b", "./a/b", "../a", "~/a", "/a")] == [
        "a/b",
        "F/specs/a/b",
        "F/a",
        "/home/her/a",
        "/a",
    ]


def test_a_pipe_lies_in_no_folder(folder: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"one: a\n")
    os.close(write)
    assert load_as(Places, f"/dev/fd/{read}").one == folder / "here" / "a"
    os.close(read)


@given(st.text(min_size=1))
def test_what_is_clean_stays(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert "/" not in once
    assert not any(c.isspace() or unicodedata.category(c).startswith("C") for c in once)


@pytest.mark.parametrize("stem", ["检索一", "検索", "поиск", "हिन्दी", "بحث", "ค้นหา", "Łódź", "a.b-c_2"])
def test_names_keep_letters_of_any_script(folder: Path, stem: str) -> None:
    (folder / "specs" / f"{stem}.yaml").write_text(SPEC)
    assert load(folder / "specs" / f"{stem}.yaml").name == unicodedata.normalize("NFC", stem)
    assert load(folder / "specs" / f"{stem}.yaml", [f"name={unicodedata.normalize('NFD', stem)}"]).name == stem


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "-a", "", "a\n", "x" * 201, "检" * 67])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="expected letters and numbers of any script"):
        TypeAdapter(Name).validate_python(name)


def test_two_specs_of_one_folder_are_told(folder: Path) -> None:
    (folder / "specs" / "a b.yaml").write_text(SPEC)
    (folder / "specs" / "a_b.yaml").write_text(f"{SPEC}train: {{steps: 7}}\n")
    Run.begin(load(folder / "specs" / "a b.yaml"))
    with pytest.raises(CheckpointError, match=r"a_b/0 holds the run of another spec \(train.steps was 100 and is 7\)"):
        Run.begin(load(folder / "specs" / "a_b.yaml"))
    with pytest.raises(CheckpointError, match=r"a_b/0 holds a run already"):
        Run.begin(load(folder / "specs" / "a b.yaml"))


def test_nothing_else_is_expanded() -> None:
    assert expanded("%DATA%/*.jsonl") == "%DATA%/*.jsonl"

"""What a study refuses to go on with: runs of another spec, of other code, or of nobody knows what."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sdsearch.config.load import load_any
from sdsearch.errors import CheckpointError, StudyError
from sdsearch.runs.folder import Run
from sdsearch.study.checklist import versions
from sdsearch.study.command import study as run
from sdsearch.study.command import unchanged
from sdsearch.study.comparison import Comparison
from sdsearch.study.spec import Job, Study, jobs

Write = Callable[..., Path]
NAME = "small_parts.by_token:ByToken"


def begin(job: Job, checkpoint: bool = True) -> Path:
    """Begin a run as `train` does, and leave it with one step and, if asked for, a checkpoint."""
    begun = Run.begin(job.experiment)
    begun.record({"step": 1})
    if checkpoint:
        (begun.checkpoints / "step_1").mkdir(parents=True)
    return begun.folder


def edit(folder: Path) -> Path:
    """Change the code of the credit that all arms use."""
    file = folder / "small_parts" / "by_token.py"
    file.write_text(file.read_text().replace("% 3", "% 5"))
    return file


def test_other_code_of_a_component_from_elsewhere_is_refused(study: Write) -> None:
    path = study()
    plain, twin = jobs(load_any(path))[:2]
    folder = begin(plain)
    begin(twin, checkpoint=False)
    unchanged([plain, twin])
    file = edit(path.parent)
    with pytest.raises(StudyError) as error:
        run(path)
    said = str(error.value)
    assert f"{folder} was run with other code: the sha256 of {NAME} ({file}) was " in said
    assert "twin" not in said  # it has no checkpoint: it begins anew, with the new code
    subprocess.run(said.splitlines()[-1], shell=True, check=True)
    assert (path.parent / "runs" / "pair" / "plain.old1" / "0" / "metrics.jsonl").exists()
    unchanged([plain, twin])


def test_a_run_that_begins_anew_writes_down_the_code_that_it_begins_with(study: Write) -> None:
    path = study()
    plain = jobs(load_any(path))[0]
    folder = begin(plain, checkpoint=False)
    before = json.loads((folder / "environment.json").read_text())["code"]
    edit(path.parent)
    Run.begin(plain.experiment, resume=True).rewind(-1)
    after = json.loads((folder / "environment.json").read_text())["code"]
    assert {name for name in before if before[name] != after[name]} == {NAME}


def test_other_code_of_the_package_and_runs_that_do_not_tell_are_accepted(study: Write) -> None:
    plain, twin = jobs(load_any(study()))[:2]
    for job, change in ((plain, {"code": {"sdsearch.objectives.terms.distill:Distill": "0"}}), (twin, {})):
        file = begin(job) / "environment.json"
        made = json.loads(file.read_text())
        assert NAME in made.pop("code")
        file.write_text(json.dumps(made | change))
    unchanged([plain, twin])


def test_runs_of_different_code_are_named_in_the_checklist(study: Write) -> None:
    path = study()
    loaded = load_any(path)
    planned = jobs(loaded)[:2]
    assert isinstance(loaded.spec, Study)
    begin(planned[0])
    assert "different" not in versions(Comparison(loaded.spec, planned, {}))
    edit(path.parent)  # while the study runs: the second run begins after it
    begin(planned[1])
    assert f"**Runs were begun with different code of {NAME}.**" in versions(Comparison(loaded.spec, planned, {}))


def test_metrics_without_a_spec_are_refused(study: Write) -> None:
    path = study()
    folder = begin(jobs(load_any(path))[0])
    (folder / "spec.yaml").unlink()
    with pytest.raises(StudyError, match=rf"{re.escape(str(folder))} holds metrics and no spec.yaml") as error:
        run(path)
    assert str(error.value).endswith(f"\n  mv {folder.parent} {folder.parent}.old1")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "metrics.jsonl",
            '{"step": 0}\n{"step": 1, "tr\n{"step": 2}\n',
            r':2: got "{\"step\": 1, \"tr", expected a JSON',
        ),
        ("metrics.jsonl", "3\n", ':1: got "3", expected a JSON object with `step`'),
        ("metrics.jsonl", '{"step": 0}\n\0\0\n', r':2: got "\u0000\u0000", expected a JSON object with `step`'),
        ("environment.json", "{\n", ":2: got what is no JSON (Expecting property name"),
        ("environment.json", "[]", ":1: got a list, expected a JSON object"),
    ],
)
def test_a_damaged_record_is_named_and_moved_aside_by_the_command_that_is_given(
    study: Write, name: str, content: str, said: str
) -> None:
    loaded = load_any(study("pair", ("[0, 1]", "[0]")))
    planned = jobs(loaded)
    assert isinstance(loaded.spec, Study)
    folder = begin(planned[0])
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError) as error:
        versions(Comparison(loaded.spec, planned, {}))
    assert str(error.value).startswith(f"{folder / name}{said}")
    subprocess.run(str(error.value).splitlines()[-1], shell=True, check=True)
    assert (folder.with_name("0.old1") / name).read_text() == content
    assert "commit none" in versions(Comparison(loaded.spec, planned, {}))


def test_when_a_run_warns_may_change(study: Write) -> None:
    folder = begin(jobs(load_any(study()))[0])
    for line, same in (("monitors: {credited: 0.5}", True), ("train: {learning_rate: 0.5}", False)):
        path = study("pair", ("  plain: {}", f"  plain: {{{line}}}"))
        plain = jobs(load_any(path))[0]
        assert plain.experiment.folder == folder
        if same:
            unchanged([plain])
        else:
            with pytest.raises(StudyError, match=r"train\.learning_rate was .* and is 0.5"):
                unchanged([plain])


def test_the_primary_contrast_is_written_down_before_anything_runs(
    study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study("pair", ("reference: plain", "reference: plain\nprimary: {arm: twin}"))
    seen = []

    def nothing(settings: Study, *_: object) -> dict[Job, str]:
        seen.append(json.loads((settings.folder / "primary.json").read_text()))
        return {}

    monkeypatch.setattr("sdsearch.study.command.run", nothing)
    folder = run(path).study.folder
    assert seen == [{"arm": "twin", "minus": "plain", "figure": "exact_match", "begun": 0}]
    table = (folder / "table.md").read_text()
    assert "**Primary contrast** (twin minus plain, exact_match), named before the first run: not run yet." in table

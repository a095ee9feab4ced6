"""The folder of a run: it can be cut back to a step, knows its own spec, and says on what it was made."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.contracts.environment import Action
from sdsearch.contracts.retrieval import Retriever
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import CheckpointError
from sdsearch.learning.train import train
from sdsearch.policy.policy import Policy
from sdsearch.retrieval.cached import Cached
from sdsearch.runs import checkpoint
from sdsearch.runs.checkpoint import load as load_checkpoint
from sdsearch.runs.folder import Run, spec_differences
from sdsearch.runs.random_states import RandomStates
from sdsearch.spec import Experiment, load

LINES: list[dict[str, Any]] = [
    {"step": 0, "evaluate": {}},
    {"step": 1, "train": {"loss": float("nan")}},
    {"step": 1, "evaluate": {"f1": 0.1 + 0.2}},
    {"step": 2, "train": {}},
]


@pytest.fixture
def run(spec: Path) -> Run:
    """Return a run that has recorded two steps."""
    run = Run.begin(load(spec))
    for line in LINES:
        run.record(line)
    for name in ("evaluate_0", "step_1", "evaluate_1", "step_2", "evaluate_10"):
        run.keep(name, [])
    return run


def test_what_is_written_is_json_for_every_reader(run: Run) -> None:
    """Bare NaN is none; what was no number is none again when it is read."""
    inf, nan = float("inf"), float("nan")
    run.record({"step": 3, "train": {"loss": nan, "norm": -inf, "fine": 0.1}, "labels": {"distill": [(nan, 1.0)]}})
    line = run.log.read_text().splitlines()[-1]
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 3,
        "train": {"loss": None, "norm": None, "fine": 0.1},
        "labels": {"distill": [[None, 1.0]]},
    }
    assert str(run.metrics()[-1]["train"]) == "{'loss': nan, 'norm': nan, 'fine': 0.1}"
    before = run.log.read_text()
    run.rewind(3)
    assert run.log.read_text() == before


def test_a_folder_that_is_gone_is_not_called_full(run: Run) -> None:
    run.folder.rename(run.folder.with_name("elsewhere"))
    with pytest.raises(
        CheckpointError, match=r"small/0 is no longer what it was: .* moved, or something in it removed"
    ):
        run.record(LINES[0])


def trajectories(run: Run) -> set[str]:
    return {p.name for p in (run.folder / "trajectories").iterdir()}


def test_rewinding_keeps_what_was_recorded_up_to_a_step(run: Run) -> None:
    before = (run.folder / "metrics.jsonl").read_text().splitlines()
    run.rewind(1)
    assert (run.folder / "metrics.jsonl").read_text().splitlines() == before[:3]
    assert trajectories(run) == {"evaluate_0.jsonl", "step_1.jsonl", "evaluate_1.jsonl"}
    run.rewind(-1)
    assert run.metrics() == []
    assert trajectories(run) == set()


def test_a_run_that_begins_anew_says_by_what_it_is_made_now(run: Run) -> None:
    """Of one that goes on after a step, the machine and the code that made the steps before are what counts."""
    made, anew = run.folder / "environment.json", "python"
    for step, there in ((1, False), (0, True), (-1, True)):
        made.write_text("{}")
        run.rewind(step)
        assert (anew in json.loads(made.read_text())) == there


def test_checkpoints_that_must_have_been_written_are_missed(run: Run) -> None:
    """Two steps are recorded; of the second the checkpoint may not have been written yet."""
    with pytest.raises(CheckpointError, match="holds no checkpoint, and the run has recorded 2 steps"):
        run.newest()
    run.experiment = load(run.spec, ["train.checkpoint_every=2"])
    assert run.newest() is None


@pytest.mark.parametrize("torn", ['{"step": 2, "train": {"lo', '{"step": 2, "evaluate": {}}', '{"step": 1, "tr'])
def test_a_line_that_was_not_written_to_its_end_is_no_line(run: Run, torn: str) -> None:
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(torn)
    (run.folder / "trajectories" / ".step_3.jsonl.partial").write_text('{"question')
    assert [m["step"] for m in run.metrics()] == [0, 1, 1, 2]
    run.rewind(2)
    run.record({"step": 3})
    assert [m["step"] for m in run.metrics()] == [0, 1, 1, 2, 3]
    assert ".step_3.jsonl.partial" not in trajectories(run)


def test_a_full_disk_is_named_and_costs_one_line(run: Run, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        small = Run(disk / "0", run.experiment)
        shutil.copytree(run.folder, small.folder)
        with pytest.raises(CheckpointError, match=r"disk/0 cannot be used: .*No space left.* room, then --resume"):
            for i in range(100):
                small.record({"step": 3, "number": i, "text": "x" * 9000})
        with pytest.raises(CheckpointError, match="No space left"):
            small.rewind(2)
        numbers = [m["number"] for m in small.metrics() if m["step"] == 3]
        assert numbers == list(range(len(numbers)))
        assert 5 < len(numbers) < 40
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_another_spec_is_refused_and_the_differing_keys_are_named(spec: Path, tmp_path: Path) -> None:
    Run.begin(load(spec))
    changed = load(spec, ["train.steps=9", "objective.terms.1.weight=0.25", "environment.top_k=2"])
    with pytest.raises(CheckpointError) as caught:
        Run.begin(changed, resume=True)
    named = "environment.top_k was 3 and is 2; objective.terms.1.weight was 0.5 and is 0.25; train.steps was 4 and is 9"
    assert f"small/0/spec.yaml is of another spec than this one: {named}. Resume with" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"spec than this one: train\.steps was 4 and is 3"):
        Run.begin(load(spec, ["train.steps=3"]), resume=True)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "runs", moved)
    assert Run.begin(load(spec, [f"out={moved}"]), resume=True).folder == moved / "small" / "0"


def test_of_phases_only_the_last_may_be_longer(spec: Path) -> None:
    def phased(*phases: tuple[int, str]) -> Experiment:
        made = [f"{{steps: {n}, objective: {{credit: [constant], terms: [clipped_pg, {term}]}}}}" for n, term in phases]
        return load(spec, ["objective=null", "train.steps=null", f"train.phases=[{', '.join(made)}]"])

    Run.begin(phased((4, "kl"), (4, "kl")))
    for other in (
        [(4, "kl"), (9, "entropy")],
        [(5, "kl"), (4, "kl")],
        [(4, "kl"), (4, "kl"), (9, "kl")],
        [(9, "kl")],
    ):
        with pytest.raises(CheckpointError, match=r"another spec than this one: train\.phases"):
            Run.begin(phased(*other), resume=True)
    assert Run.begin(phased((4, "kl"), (9, "kl")), resume=True).spec.read_text().count("steps: 9") == 1


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_there_is_a_difference_where_things_differ(one: Any, two: Any) -> None:
    assert spec_differences(one, one) == []
    assert bool(spec_differences({"x": one}, {"x": two})) == (one != two)


def test_differences_are_named_by_their_path() -> None:
    old = {"out": "a", "a": {"out": 1, "b": [1, {"c": 2}]}, "d": [1], "e": 1}
    new = {"out": "b", "a": {"out": 2, "b": [1, {"c": 3}]}, "d": [1, 2], "f": "x"}
    assert spec_differences(old, new) == [
        "a.out was 1 and is 2",
        "a.b.1.c was 2 and is 3",
        "d was [1] and is [1, 2]",
        "e was 1 and is null",
        'f was null and is "x"',
    ]


def trained(spec: Path) -> tuple[Experiment, Path]:
    experiment = load(spec, ["train.keep_checkpoints=3", "train.evaluate_every=0"])
    return experiment, train(experiment).folder


def test_more_steps_go_on_as_if_they_had_been_asked_for_at_once(spec: Path, tmp_path: Path) -> None:
    once, short, long = (
        load(spec, [f"out={tmp_path / o}", f"train.steps={n}"]) for o, n in (("x", 4), ("y", 2), ("y", 4))
    )
    expected = train(once).folder
    train(short)
    folder = train(long, resume=True).folder
    one, other = (f / "checkpoints" / "step_4" / "model.safetensors" for f in (expected, folder))
    assert one.read_bytes() == other.read_bytes()
    assert load(folder / "spec.yaml").train.steps == 4
    assert [m["step"] for m in Run(folder, long).metrics() if "train" in m] == [1, 2, 3, 4]


def test_the_command_that_an_error_gives_goes_on(spec: Path) -> None:
    experiment, folder = trained(spec)
    newest = folder / "checkpoints" / "step_4"
    expected = (newest / "model.safetensors").read_bytes()
    (newest / "state.safetensors").write_bytes(b"rotten")
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged.*step_3 is whole") as caught:
        train(experiment, resume=True)
    move, go_on = str(caught.value).splitlines()[-1].split(" && ")
    subprocess.run(move, shell=True, check=True)
    program, command, again, option = go_on.split()
    assert (program, command, option) == ("sdsearch", "train", "--resume")
    train(load(again), resume=True)
    assert (newest / "model.safetensors").read_bytes() == expected
    assert [m["step"] for m in Run(folder, experiment).metrics() if "train" in m] == [1, 2, 3, 4]


def test_a_checkpoint_from_another_run_is_refused(spec: Path) -> None:
    _, folder = trained(spec)
    other = load(spec, ["name=other", "seed=1", "train.tokens_per_batch=512"])
    run = Run.begin(other)
    shutil.copytree(folder / "checkpoints", run.checkpoints)
    with pytest.raises(
        CheckpointError, match=r'step_4 is of another spec .*: name was "small" and is "other"; seed was 0'
    ):
        train(other, resume=True)


def test_a_checkpoint_of_another_number_of_processes_is_refused(run: Run, tiny: Policy) -> None:
    """Each process draws its own random numbers: those of one cannot be shared out among two."""
    states = RandomStates(tiny.device)
    about = {"spec": run.experiment.model_dump(mode="json")}
    path = checkpoint.save(run.checkpoints, 2, tiny, {"random_states": [states.state_dict()]}, about, 1)
    words = rf"step_2 was made by 1 processes, got 2: (.|\n)*\n  mv {run.folder}"
    with pytest.raises(CheckpointError, match=words):
        run.restore(path, tiny, {}, states, 1, 2)
    assert run.restore(path, tiny, {}, states, 0, 1)["step"] == 2


def test_a_folder_that_cannot_be_made_is_named(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/small/0 cannot be used: .*Not a directory"):
        Run.begin(load(spec, [f"out={tmp_path}/file"]))


def test_resuming_a_run_that_never_began_begins_it(spec: Path) -> None:
    run = Run.begin(load(spec), resume=True)
    assert (run.folder / "spec.yaml").exists()
    assert run.newest() is None


def test_old_runs_are_moved_aside_one_by_one(spec: Path) -> None:
    experiment = load(spec)
    for _ in range(3):
        Run.begin(experiment, fresh=True)
    assert sorted(p.name for p in (experiment.out / "small").iterdir()) == ["0", "0.old1", "0.old2"]


def test_a_record_that_is_not_what_it_was_is_not_gone_on_with(spec: Path, tmp_path: Path) -> None:
    """Two processes once wrote into one folder, or someone lost or edited it: no figure of such a run could be trusted.

    The checkpoint has a copy, and the command that the error gives puts it back. A budget holds over all of that.
    """
    short, long = (load(spec, [f"out={tmp_path / 'y'}", f"train.steps={n}"]) for n in (3, 4))
    folder = train(short).folder
    path, about = folder / "metrics.jsonl", json.loads((folder / "checkpoints" / "step_3" / "about.json").read_text())
    whole = path.read_bytes()
    lines = whole.decode().splitlines(keepends=True)  # evaluation, 1, 2, evaluation, 3, evaluation
    once, written = (
        "does not hold each of the 3 training steps .* once ",
        "is not what it was when .*step_3 was written",
    )
    for order, words in {
        (0, 1, 2, 2, 3, 4, 5): rf"{once}\(there more than once: 2\)",
        (0, 1, 3, 4, 5): rf"{once}\(missing: 2\)",
        (0, 1, 1, 3, 4, 5): rf"{once}\(missing: 2; there more than once: 1\)",
        (0, 2, 1, 3, 4, 5): rf"{once}\(they are out of order\)",
        (): rf"{once}\(missing: 1, 2, 3\)",
        (0, 1, 2, 3, 3, 4, 5): rf"{once}\(there more than once: 2\)",
        (1, 2, 3, 4, 5): rf"{written}, from line 1 on",
        (0, 1, 2, 4, 5): rf"{written}, from line 4 on",
    }.items():
        path.write_text("".join(lines[i] for i in order))
        before = path.read_bytes()
        with pytest.raises(CheckpointError, match=rf"metrics\.jsonl {words}") as caught:
            train(long, resume=True)
        assert path.read_bytes() == before
        subprocess.run(str(caught.value).splitlines()[-1], shell=True, check=True)
        # The last evaluation is younger than the checkpoint.
        assert path.read_text() == "".join(lines[:6])
    for damage, words in (
        (b'"loss": 9', written),
        (b'"loss": \xff', r"metrics\.jsonl:2: got .*, expected a JSON object"),
    ):
        path.write_bytes(whole.replace(b'"loss": 0', damage, 1).replace(b'"loss": -0', damage, 1))
        with pytest.raises(CheckpointError, match=rf"{words}(.|\n)*\n  cp .*step_3/metrics\.jsonl ") as caught:
            train(long, resume=True)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"missing: 1, 2, 3"):
        train(long, resume=True)
    subprocess.run(str(caught.value).splitlines()[-1], shell=True, check=True)
    train(long, resume=True)
    after = next(m["spent"] for m in Run.open(folder).metrics() if "train" in m and m["step"] == 4)
    assert after["rollouts"] == about["spent"]["rollouts"] + 6 == 24
    assert after["tokens"] > about["spent"]["tokens"] > 0


def test_what_was_spent_is_told_by_the_checkpoint(run: Run, tmp_path: Path) -> None:
    spent = {"rollouts": 7.0, "tokens": 8.0, "seconds": 9.0}
    run.rewind(-1)
    run.record({"step": 1, "train": {}, "spent": dict.fromkeys(spent, 0.0)})
    assert run.spent(tmp_path, {"step": 1, "spent": spent}).record() == spent
    assert run.spent(tmp_path, {"step": 1}).record() == dict.fromkeys(spent, 0.0)  # an older checkpoint


def test_a_run_goes_on_only_with_the_files_it_began_with(spec: Path) -> None:
    experiment, folder = trained(spec)
    for file, name in {
        "questions.jsonl": "`data.train` and `data.test`",
        "corpus.jsonl": "`environment.retriever`",
    }.items():
        path = spec.parent / file
        whole = path.read_text()
        path.write_text(whole.replace("Airport 0", "Airport 00"))
        words = rf"^{name} held something else when .*step_4 was written.*--accept-changes(.|\n)*\n  mv {folder}"
        with pytest.raises(CheckpointError, match=words):
            train(experiment, resume=True)
        path.write_text(whole)
    train(experiment, resume=True)


def test_what_has_changed_can_be_accepted(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of the index as it was are not mixed with those of the new one, and the checkpoint tells of both."""
    # Every action is a search: the random weights of the tests never write one.
    monkeypatch.setattr(SearchR1, "parse", lambda self, text: Action("search", "Which city"))
    _, folder = trained(spec)
    assert "serves Rome" in str(load_checkpoint(folder / "checkpoints" / "step_4")[1]["retrieval"]["passages"])
    path = spec.parent / "corpus.jsonl"
    path.write_text(path.read_text().replace("serves Rome", "serves Oslo"))
    capsys.readouterr()
    longer = load(spec, ["train.keep_checkpoints=3", "train.evaluate_every=0", "train.steps=5"])
    train(longer, resume=True, accept_changes=True)
    assert "warning: environment.retriever held something else up to step 4" in capsys.readouterr().out
    about, state = load_checkpoint(folder / "checkpoints" / "step_5")
    assert about["changes"] == [{"step": 4, "what": ["environment.retriever"]}]
    passages = str(state["retrieval"]["passages"])
    assert "serves Oslo" in passages
    assert "serves Rome" not in passages
    train(longer, resume=True)  # they are what it goes on with from now on


def test_a_moved_run_is_used_where_it_is(spec: Path, tmp_path: Path) -> None:
    """Its spec names the old place, where nothing, or another run, may be by now."""
    experiment, folder = trained(spec)
    elsewhere = tmp_path / "elsewhere" / "small" / "0"
    elsewhere.parent.mkdir(parents=True)
    shutil.copytree(folder, elsewhere)
    (elsewhere / "checkpoints" / "step_4" / "state.json").write_text("rotten")
    command = CliRunner().invoke(app, ["train", str(elsewhere), "--resume"])
    assert command.exit_code == 1
    move, go_on = command.output.splitlines()[-1].split(" && ")
    assert str(elsewhere) in move and str(elsewhere) in go_on
    assert str(folder) not in command.output
    subprocess.run(move, shell=True, check=True)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert CliRunner().invoke(app, go_on.split()[1:], catch_exceptions=False).exit_code == 0
    assert (elsewhere / "checkpoints" / "step_4" / "about.json").is_file()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    renamed = elsewhere.rename(tmp_path / "copy")
    with pytest.raises(CheckpointError, match="copy holds the run of small, seed 0") as caught:
        Run.at_home(renamed / "spec.yaml", experiment)
    subprocess.run(str(caught.value).splitlines()[-1], shell=True, check=True)
    assert Run.at_home(tmp_path / "small" / "0" / "spec.yaml", experiment).folder == tmp_path / "small" / "0"
    assert Run.at_home(spec, experiment) == experiment
    other = load(spec, ["seed=1"])
    assert Run.at_home(tmp_path / "small" / "0" / "spec.yaml", other) == other


@pytest.mark.parametrize("retriever", ["bm25", "exact", "chroma"])
def test_a_retriever_says_what_it_searches(spec: Path, retriever: str) -> None:
    """The same files give the same fingerprint; another passage, or another way to search, gives another."""
    words = {"bm25": ("k1", 1.1), "exact": ("embedder", {"type": "hashing", "dim": 64})}
    key, other = words.get(retriever, ("ef_search", 700))
    corpus = {"type": "jsonl", "path": str(spec.parent / "corpus.jsonl")}
    settings = {
        "type": retriever,
        "corpus": corpus,
        **({} if retriever == "bm25" else {"embedder": {"type": "hashing"}}),
    }
    opened = [TypeAdapter(Retriever).validate_python(s).open() for s in (settings, settings, {**settings, key: other})]
    same, again, changed = (Cached(searcher).fingerprint for searcher in opened)
    assert same
    assert same == again != changed
    path = spec.parent / "corpus.jsonl"
    path.write_text(path.read_text().replace("serves Rome", "serves Oslo", 1))
    assert Cached(TypeAdapter(Retriever).validate_python(settings).open()).fingerprint != same

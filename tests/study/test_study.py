"""A study end to end: real processes that are killed, interrupted, fail, and go on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import sdsearch
from sdsearch.cli import app
from sdsearch.config.load import load_any
from sdsearch.errors import StudyError
from sdsearch.learning.train import train
from sdsearch.spec import load
from sdsearch.study.command import study as run
from sdsearch.study.record import Record
from sdsearch.study.spec import Job, jobs

Write = Callable[..., Path]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without its times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["retrieval"]["seconds"]
        line.get("spent", {}).pop("seconds", None)
    return lines


def rows(path: Path) -> list[dict[str, str]]:
    """Return a CSV without times."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def start(path: Path) -> subprocess.Popen[str]:
    """Start a study as a user does."""
    paths = os.pathsep.join([str(path.parent), str(Path(sdsearch.__file__).parents[1])])
    command = [sys.executable, "-m", "sdsearch", "study", str(path)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes of the runs."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait(for_what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, while a study runs."""
    while not for_what():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def begun(job: Job) -> bool:
    """Say whether a run has recorded a training step."""
    return bool(Record.of(job).trained)


def references(path: Path, ahead: Sequence[Job] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return what every run of a study records when it is trained in this process, elsewhere; `ahead` were."""
    here = {job.name: timeless(job.experiment.folder) for job in ahead}
    elsewhere = {"out": path.parent / "reference"}
    others = [job for job in jobs(load_any(path)) if job.name not in here]
    with one_thread():
        return here | {j.name: timeless(train(j.experiment.model_copy(update=elsewhere)).folder) for j in others}


@contextmanager
def one_thread() -> Iterator[None]:
    """Train with as many threads as a study gives its runs: sums are added up in another order by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def often_judged(path: Path) -> None:
    """Let the small experiment take more steps, and evaluate after each."""
    text = path.read_text()
    path.write_text(text.replace("steps: 4", "steps: 20").replace("evaluate_every: 2", "evaluate_every: 1"))


def test_a_killed_study_goes_on_and_nothing_is_run_twice(
    study: Write, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often_judged(spec)
    path = study("pair", ("rollouts: 16", "rollouts: 28"))
    folder = path.parent / "runs" / "pair"
    planned = jobs(load_any(path))
    with one_thread():
        for job in planned[:3]:
            train(job.experiment)  # a run is known by its record, whoever ran it
    process = start(path)
    wait(lambda: all(begun(job) for job in planned), process)
    runs = children(process)
    process.kill()
    process.communicate()
    assert len(runs) == 1
    expected = references(path, ahead=planned[:3])
    ends = time.monotonic() + 60
    while any(alive(pid) for pid in runs):  # they stop after their step
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert not (folder / "table.md").exists()

    found = run(path)
    assert {job.name: timeless(job.experiment.folder) for job in planned} == expected
    for job in planned[3:]:
        log = job.beside("log").read_text()
        assert [log.count(f"step {i}: held-out") for i in range(6)] == [1] * 6  # 5 steps of 6 rollouts reach 28
    # Arms that do the same give the same numbers; seeds do not.
    assert expected["plain/0"] == expected["twin/0"] != expected["plain/1"] == expected["twin/1"]
    assert [p.difference for p in found.pairs()] == [(0.0, 0.0, 0.0)] * 4

    # All is there: nothing runs, the table is the same.
    table, results = (folder / "table.md").read_text(), rows(folder / "results.csv")
    logs = {job.name: job.beside("log").read_text() for job in planned[3:]}
    capsys.readouterr()
    run(path)
    assert "4 of 4 runs are there already" in capsys.readouterr().out
    assert logs == {job.name: job.beside("log").read_text() for job in planned[3:]}
    assert (folder / "table.md").read_text() == table
    assert [(r["arm"], r["seed"], r["state"], r["steps"]) for r in results] == [
        (arm, seed, "done", "5") for seed in "01" for arm in ("plain", "twin")
    ]
    assert {p.name for p in folder.iterdir() if p.is_file()} >= {"curves.csv", "curves.png", "pairs.csv"}

    # As JSON for another program: nothing else on standard output.
    told = CliRunner().invoke(app, ["study", str(path), "--json"])
    assert [(r["arm"], r["state"]) for r in json.loads(told.stdout)["runs"]] == [
        (arm, "done") for _ in "01" for arm in ("plain", "twin")
    ]

    # One seed of them: no interval, and it is said.
    one = run(path, ["seeds=[1]"])
    assert {(e.low, e.high) for p in one.pairs() for e in [p.difference]} == {(None, None)}
    assert "One seed: no interval" in (folder / "table.md").read_text()
    assert "[" not in next(
        x for x in (folder / "table.md").read_text().splitlines() if x.startswith("| plain | 1 of 1")
    )

    # Another spec is refused before anything runs.
    changed = (
        "twin/0 was run with another spec: objective.terms.1.weight was 0.5 and is 0.25; train.budget.rollouts was 28"
    )
    with pytest.raises(StudyError) as error:
        run(path, ["arms.twin.objective.terms.1.weight=0.25", "budget.rollouts=60"])
    assert changed in str(error.value)
    assert f"mv {folder}/twin {folder}/twin.old" in str(error.value)
    with pytest.raises(StudyError) as error:
        run(path, ["arms.twin.objective.terms.1.weight=0.25"])
    assert f"mv {folder}/plain" not in str(error.value)


BROKEN = """
from sdsearch.contracts.credit import GroupCredit

class Broken(GroupCredit):
    def of_group(self, group):
        raise RuntimeError("no credit today")
"""


def test_a_failed_arm_stops_no_other(
    study: Write, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part, other = spec.parent / "small_parts" / "by_token.py", spec.parent / "broken_part.py"
    other.write_text(BROKEN)
    twin = "twin: {objective: {terms: {1: {weight: 0.5}}}}"
    path = study("failing", ("[0, 1]", "[0]"), (twin, "broken: {objective: {credit: ['broken_part:Broken']}}"))
    plain, _ = jobs(load_any(path))
    train(plain.experiment)  # a run is known by its record, whoever ran it
    with pytest.raises(StudyError, match=r"1 of 2 runs failed \(broken/0\): when what stopped them is mended"):
        run(path)
    table = (path.parent / "runs" / "failing" / "table.md").read_text()
    said = capsys.readouterr().out
    assert "1 of 2 runs are there already" in said
    assert not plain.beside("log").exists()
    for text in (table, said):
        assert "exit code 1, after step 0; the end of" in text
        assert "RuntimeError: no credit today" in text
    assert "| broken | 0 of 1 | - | - | - | - |" in table
    assert "| plain | 1 of 1 | 0.000 | 0.000 |" in table
    monkeypatch.delitem(sys.modules, "broken_part")
    other.write_text(part.read_text().replace("ByToken", "Broken"))
    _, mended = jobs(load_any(path))
    train(mended.experiment, resume=True)
    assert len(run(path).done) == 2
    assert "none\n\n## Checklist" in (path.parent / "runs" / "failing" / "table.md").read_text()


def test_a_study_is_run_by_one_process(study: Write) -> None:
    import fcntl

    path = study()
    folder = path.parent / "runs" / "pair"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="another process runs the study in"):
            run(path)


@pytest.mark.slow
def test_ctrl_c_saves_every_run_and_the_same_command_goes_on(study: Write, spec: Path) -> None:
    often_judged(spec)
    path = study("pair", ("rollouts: 16", "rollouts: 60"), ("[0, 1]", "[0]"))
    folder = path.parent / "runs" / "pair"
    for signals in (1, 2):
        process = start(path)
        wait(partial(children, process), process)
        wait(lambda: any(map(begun, jobs(load_any(path)))), process)
        runs = children(process)
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 130, said
        assert said.endswith("stopped; the same command goes on\n")
        assert "each run stops after its step, with a checkpoint" in said
        assert not any(alive(pid) for pid in runs)
        assert "Traceback" not in said
        assert (folder / "table.md").exists()
    assert any(folder.glob("*/*/checkpoints/step_*"))
    run(path)
    expected = references(path)
    assert {job.name: timeless(job.experiment.folder) for job in jobs(load_any(path))} == expected


@pytest.mark.slow
def test_killed_again_and_again_with_its_runs_it_arrives(study: Write, spec: Path) -> None:
    often_judged(spec)
    path = study("pair", ("rollouts: 16", "rollouts: 100"))
    expected = references(path)
    dice = Random(0)
    for i in range(6):
        process = start(path)
        time.sleep(dice.uniform(1, 14))
        runs = children(process) if process.poll() is None else []
        process.kill()
        for pid in runs if i % 2 else ():
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    run(path)
    assert {job.name: timeless(job.experiment.folder) for job in jobs(load_any(path))} == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_on_a_ray_cluster_of_two_nodes(study: Write, spec: Path) -> None:
    ray_cluster = pytest.importorskip("ray.cluster_utils")
    path = study()
    expected = references(path)
    cluster = ray_cluster.Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
        found = run(path, address=cluster.address)
    finally:
        cluster.shutdown()
    planned = jobs(load_any(path))
    assert len(found.done) == 4
    assert {job.name: timeless(job.experiment.folder) for job in planned} == expected
    nodes = {job.beside("log").read_text().partition("Ray node ")[2].split()[0] for job in planned}
    assert len(nodes) == 2


def test_an_arm_is_what_the_experiment_and_its_changes_make(study: Write) -> None:
    path = study("pair", ("twin: {", "short: {train: {steps: 2}}\n  twin: {"))
    planned = jobs(load_any(path))
    assert [job.name for job in planned] == ["plain/0", "short/0", "twin/0", "plain/1", "short/1", "twin/1"]
    assert planned[1].experiment.train.steps == 2
    base = load(path.parent / "small.yaml", ["train.budget={rollouts: 16}", "seed=1", "name=plain"])
    assert planned[3].experiment == base.model_copy(update={"out": path.parent / "runs" / "pair"})
    assert not Record.of(planned[0]).done

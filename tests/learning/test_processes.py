"""Several processes: what is shared out comes back once and in order, and two of them are one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from sdsearch.core.trajectory import read_groups
from sdsearch.errors import RetrieverUnavailable, SdsearchError, SpecError
from sdsearch.learning.processes import Processes
from sdsearch.learning.train import train
from sdsearch.learning.trainer import Trainer
from sdsearch.runs.folder import Run
from sdsearch.spec import load

TRAIN = """
import sys
from sdsearch.learning.train import train
from sdsearch.spec import load

train(load(sys.argv[1], sys.argv[2:]))
"""

FAILING = """
import os, sys
from sdsearch.learning.train import train
from sdsearch.learning.trainer import Trainer
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.policy.critic import Critic
from sdsearch.spec import load

def fail(*_):
    raise MemoryError("as it was told to")

step = Trainer.step

def stepping(trainer, number):
    if os.environ["RANK"] == "1":
        owner, name = sys.argv[1].split(".")
        setattr({"ClippedPG": ClippedPG, "Critic": Critic}[owner], name, fail)
    return step(trainer, number)

Trainer.step = stepping
train(load(sys.argv[2], sys.argv[3:]))
"""

EVALUATE = """
import sys, torch
from accelerate import Accelerator
from pathlib import Path
from sdsearch.core.trajectory import write_groups
from sdsearch.learning.processes import Processes
from sdsearch.rollout.evaluate import evaluate
from sdsearch.rollout.session import open_session
from sdsearch.spec import load

experiment = load(sys.argv[1], sys.argv[3:])
processes = Processes(Accelerator(cpu=True))
questions = experiment.questions("test")
played = evaluate(experiment.environment.open(), open_session(experiment), processes.share(questions), 2, 7)
groups = processes.collect(played)
if processes.main:
    write_groups(Path(sys.argv[2]), groups)
processes.leave()
"""


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(script: str, world: int, *arguments: str) -> None:
    """Run a script in so many processes of one thread each, connected by gloo."""
    ends = ended(script, world, *arguments)
    assert not any(code for code, _ in ends), ends


def ended(script: str, world: int, *arguments: str) -> list[tuple[int, str]]:
    """Run it; return how each process ended, and what it said."""
    common = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-c", script, *arguments]
    if world == 1:
        alone = subprocess.run(command, env=common, check=False, capture_output=True, text=True)
        return [(alone.returncode, alone.stderr)]
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    ranks = [{"RANK": str(r), "LOCAL_RANK": str(r), "LOCAL_WORLD_SIZE": str(world)} for r in range(world)]
    processes = [subprocess.Popen(command, env=common | rank, stderr=subprocess.PIPE, text=True) for rank in ranks]
    try:
        said = [p.communicate(timeout=240)[1] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, each) for p, each in zip(processes, said, strict=True)]


class Apart(Processes):
    """One of several processes that are none: what the others have is given."""

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count, self.parts = index, count, list[Any]()

    def gather(self, value: Any) -> list[Any]:
        return self.parts


@given(st.lists(st.integers(), max_size=12), st.integers(1, 4))
def test_what_is_shared_out_is_collected_once_and_in_order(items: list[int], count: int) -> None:
    everyone = [Apart(index, count) for index in range(count)]
    parts = [process.share(items) for process in everyone]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for process, part in zip(everyone, parts, strict=True):
        process.parts = parts
        assert process.collect(part) == items


def test_what_fails_in_one_process_fails_in_all() -> None:
    fine, failing = Apart(0, 2), Apart(1, 2)
    for process in (fine, failing):
        process.parts = [None, RetrieverUnavailable("down")]

    def fail() -> int:
        raise RetrieverUnavailable("down")

    for process, work in ((fine, lambda: 3), (failing, fail)):
        with pytest.raises(RetrieverUnavailable, match="down"):
            process.attempt(work)
    fine.parts = [None, None]
    assert fine.attempt(lambda: 3) == 3


def test_what_nobody_raised_on_purpose_ends_all_processes_too() -> None:
    """The one that failed raises its own error, with all that there is to see in it."""
    fine, failing = Apart(0, 2), Apart(1, 2)
    told: list[SdsearchError] = []

    def fail() -> int:
        raise KeyError("missing")

    failing.gather = lambda value: told.append(value) or [None, value]  # type: ignore[func-returns-value,method-assign]
    with pytest.raises(KeyError, match="missing"):
        failing.attempt(fail)
    fine.parts = [None, *told]
    with pytest.raises(SdsearchError, match=r"process 1 failed with KeyError: 'missing'"):
        fine.attempt(lambda: 3)


def test_one_question_for_two_processes_is_refused(spec: Path) -> None:
    """Both would play the same rollouts of it."""
    two = Apart(0, 2)
    with pytest.raises(SpecError, match=r"train\.questions is 1 and there are 2 processes"):
        Trainer(load(spec, ["train.questions=1"]), two)
    with pytest.raises(SpecError, match=r"train\.questions is 6 and `data\.train` has 5: with several processes"):
        Trainer(load(spec, ["train.questions=6"]), two)


def lines(folder: Path, kind: str) -> list[dict[str, float]]:
    """Return the figures of a run's steps, or of its evaluations."""
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[kind] for line in read if kind in line]


def test_two_processes_take_the_steps_of_one_on_stored_groups(spec: Path) -> None:
    common = ["train.epochs=2", "train.evaluate_every=0", "evaluate={questions: 5, batch: 2}", "train.questions=3"]
    # More terms and a critic: all that is summed over processes is in play.
    objective = "objective={credit: [{type: gae, lam: 0.9}], terms: [clipped_pg, entropy, {type: kl, teacher: ema}]}"
    played = train(load(spec, [*common, objective, "name=played", "train.steps=2"])).folder
    stored = [*common, objective, "train.steps=2", f"train.source={{type: stored, run: {played}}}"]
    for world in (1, 2):
        launch(TRAIN, world, str(spec), *stored, f"name=by_{world}")
    one, two = (played.parents[1] / f"by_{world}" / "0" for world in (1, 2))
    for step in (1, 2):
        groups = [list(read_groups(f / "trajectories" / f"step_{step}.jsonl")) for f in (played, one, two)]
        assert groups[0] == groups[1] == groups[2]
    for kind in ("train", "evaluate"):
        pairs = list(zip(lines(one, kind), lines(two, kind), strict=True))
        assert len(pairs) == 2
        for alone, together in pairs:
            assert alone.keys() == together.keys()
            for name, figure in alone.items():
                # How far the policy is from the one that played: nothing for one process, Adam's rounding for two.
                slack = 1e-3 if name.startswith("stale") else 2e-5
                assert together[name] == pytest.approx(figure, rel=2e-4, abs=slack, nan_ok=True), name
    for step in (1, 2):
        columns = [Run.open(f).columns(step) for f in (one, two)]
        assert columns[0].sampled == columns[1].sampled
        assert columns[0].values.keys() == columns[1].values.keys() >= {"advantage/gae", "loss/entropy"}
        for name, column in columns[0].values.items():
            if not name.startswith("top/"):
                np.testing.assert_allclose(columns[1].values[name], column, rtol=2e-3, atol=1e-4)
    asked = [g.question.id for g in read_groups(two / "trajectories" / "evaluate_2.jsonl")]
    assert asked == [str(i) for i in range(5)]
    start = load_file(spec.parent / "model" / "model.safetensors")
    for name in ("model", "state"):
        by_one, by_two = (load_file(f / "checkpoints" / "step_2" / f"{name}.safetensors") for f in (one, two))
        weights = [key for key, value in by_one.items() if value.is_floating_point()]
        assert weights == [key for key, value in by_two.items() if value.is_floating_point()]
        for key in weights:
            # Where a gradient is next to nothing Adam makes a whole step of its rounding: it is the whole that agrees.
            before = start[key] if name == "model" else 0
            apart, moved = (by_two[key] - by_one[key]).norm(), (by_one[key] - before).norm()
            assert apart <= 0.01 * moved, (name, key)


@pytest.mark.parametrize("at", ["ClippedPG.select", "Critic.descend"])
def test_one_process_that_fails_does_not_leave_the_other_waiting(spec: Path, at: str) -> None:
    objective = "objective={credit: [gae], terms: [clipped_pg]}"
    ends = ended(FAILING, 2, at, str(spec), objective, "train.steps=1", "train.questions=2", "name=failing")
    assert [code for code, _ in ends] == [1, 1]
    for _, said in ends:
        assert "MemoryError: as it was told to" in said, said


def test_an_evaluation_by_two_processes_is_that_of_one(spec: Path, tmp_path: Path) -> None:
    scripted = [
        "agent={type: scripted, wrong_query: 0.5, misread: 0.3}",
        "environment={retriever: {type: bm25, corpus: {type: atlas}}, max_turns: 4}",
        "data.test={type: atlas, split: test, hops: [2], size: 7}",
        "objective=null",
    ]
    for world in (1, 2):
        launch(EVALUATE, world, str(spec), str(tmp_path / f"{world}.jsonl"), *scripted)
    one, two = (list(read_groups(tmp_path / f"{world}.jsonl")) for world in (1, 2))
    assert one == two
    assert [g.question for g in one] == list(load(spec, scripted).questions("test"))
    assert len({t.reward for g in one for t in g.trajectories}) == 2

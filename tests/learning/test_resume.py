"""A run that is killed at any moment goes on as if nothing had happened: real processes, real signals, every bit."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from sdsearch.errors import CheckpointError
from sdsearch.learning.train import train
from sdsearch.spec import load

PROGRAM = """
import os, sys
import torch
os.dup2(os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
torch.set_num_threads(1)
sys.argv = ["sdsearch", "train", *{words!r}]
from sdsearch.cli import main
main()
"""
PRELOAD = [
    *("sdsearch.learning.train", "sdsearch.report.table", "sdsearch.envs.data.jsonl", "sdsearch.envs.retrieval.exact"),
    *("transformers.models.auto", "transformers.models.llama.modeling_llama", "transformers.conversion_mapping"),
    *("torch._dynamo", "matplotlib.figure"),
]
"""Most of a short run's time goes into imports."""
WORDS = [
    *("--set", "train.steps=5"),
    *("--set", "train.checkpoint_every=2"),
    *("--set", "train.warmup_steps=4"),
    *("--set", "objective.terms.1.teacher=ema"),
]


class Trainer:
    """Starts `sdsearch train` in processes of their own: copies of one that has imported everything."""

    def __init__(self, spec: Path) -> None:
        self.spec, self.folder = spec, spec.parent
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        warm = self.context.Process(target=exec, args=("",))
        warm.start()
        warm.join()
        self.started: list[BaseProcess] = []

    def start(self, out: Path, *words: str) -> BaseProcess:
        """Start a run."""
        words = (str(self.spec), "--out", str(out), *WORDS, *words)
        program = PROGRAM.format(log=str(self.folder / "log"), words=words)
        process = self.context.Process(target=exec, args=(program,))
        process.start()
        self.started.append(process)
        return process

    def finish(self, out: Path, *words: str) -> Path:
        """Run to the end and return the run's folder."""
        process = self.start(out, *words)
        process.join(600)
        assert process.exitcode == 0, (self.folder / "log").read_text()
        return out / "small" / "0"


@pytest.fixture
def trainer(spec: Path) -> Iterator[Trainer]:
    """Return what starts runs; none of them outlives the test."""
    made = Trainer(spec)
    yield made
    for process in made.started:
        process.kill()
        process.join()


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of metrics without its times."""
    kept = {k: v for k, v in line.items() if k != "seconds"}
    for part in ("retrieval", "spent"):
        kept[part] = {k: v for k, v in line.get(part, {}).items() if k != "seconds"}
    return kept


def left(folder: Path) -> dict[str, Any]:
    """Return all that a run has left, but times and where it is."""
    files = [p for part in ("trajectories", "checkpoints") for p in (folder / part).rglob("*") if p.is_file()]
    logs = [folder / "metrics.jsonl", *(p for p in files if p.name == "metrics.jsonl")]
    return {
        **{str(p.relative_to(folder)): p.read_bytes() for p in files if p.name != "about.json"},
        **{
            str(p.relative_to(folder)): [timeless(json.loads(line)) for line in p.read_text().splitlines()]
            for p in logs
        },
    }


def check_moment(
    trainer: Trainer, out: Path, expected: dict[str, Any], come: Callable[[Path], bool]
) -> list[str] | None:
    """Kill a run when the moment has come, go on, and compare all that is left.

    Returns the names of what the kill left behind; None when the run was over before.
    """
    process = trainer.start(out)
    folder = out / "small" / "0"
    while not come(folder) and process.is_alive():
        time.sleep(0.0002)
    process.kill()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)
    remains = [p.name for p in folder.rglob("*")] if process.exitcode else None
    got = left(trainer.finish(out, "--resume"))
    assert got.keys() == expected.keys()
    assert [name for name in got if got[name] != expected[name]] == []
    return remains


def after(seconds: float) -> Callable[[Path], bool]:
    """Return a moment that comes so many seconds from now."""
    due = time.monotonic() + seconds
    return lambda folder: time.monotonic() >= due


def saving(step: int) -> Callable[[Path], bool]:
    """Return the moment at which a checkpoint is being written."""
    return lambda folder: (folder / "checkpoints" / f".step_{step}.partial").exists()


def reference(trainer: Trainer) -> tuple[dict[str, Any], float]:
    """Return what an uninterrupted run leaves, and how long it takes."""
    since = time.monotonic()
    folder = trainer.finish(trainer.folder / "whole")
    seconds = time.monotonic() - since
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == ["step_4", "step_5"]
    return left(folder), seconds


def test_a_killed_run_goes_on_bit_for_bit(trainer: Trainer) -> None:
    expected, seconds = reference(trainer)
    assert any(line.get("train", {}).get("distill/loss") for line in expected["metrics.jsonl"])
    for i, share in enumerate((0.2, 0.7)):
        check_moment(trainer, trainer.folder / f"moment_{i}", expected, after(share * seconds))
    remains = check_moment(trainer, trainer.folder / "saving", expected, saving(4))
    assert remains is not None
    assert {".step_4.partial", "step_4"} & {*remains}  # the latter when the save was quicker than the signal


@pytest.mark.slow
def test_twenty_random_moments(trainer: Trainer) -> None:
    expected, seconds = reference(trainer)
    dice = random.Random(0)
    moments = (
        check_moment(trainer, trainer.folder / str(i), expected, after(dice.uniform(0, seconds))) for i in range(60)
    )
    assert len(list(islice((m for m in moments if m is not None), 20))) == 20
    torn = 0
    for i, step in enumerate((2, 4, 5) * 4):
        remains = check_moment(trainer, trainer.folder / f"save_{i}", expected, saving(step))
        torn += f".step_{step}.partial" in (remains or ())
    assert torn >= 4


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_arrives(trainer: Trainer) -> None:
    expected, seconds = reference(trainer)
    dice, out = random.Random(1), trainer.folder / "out"
    for _ in range(8):
        process = trainer.start(out, "--resume")
        process.join(dice.uniform(0, seconds))
        process.kill()
        process.join()
    assert left(trainer.finish(out, "--resume")) == expected


def test_the_first_interrupt_saves_and_the_second_stops_at_once(trainer: Trainer) -> None:
    expected, _ = reference(trainer)
    out = trainer.folder / "out"
    folder = out / "small" / "0"

    def stopped(*words: str, signals: int) -> str:
        process = trainer.start(out, *words)
        log = trainer.folder / "log"
        log.write_text("")
        while not log.read_text().count("held-out"):
            assert process.is_alive(), log.read_text()
            time.sleep(0.001)
        for i in range(signals):
            os.kill(process.pid or 0, signal.SIGINT)
            while i + 1 < signals and "Ctrl-C again" not in log.read_text():
                time.sleep(0.0002)
        process.join(600)
        assert process.exitcode == 130, log.read_text()
        return log.read_text()

    assert "--resume goes on from" in stopped(signals=1)
    (first,) = (folder / "checkpoints").iterdir()
    assert f"stopped after step {first.name.removeprefix('step_')};" in (trainer.folder / "log").read_text()
    assert left(trainer.finish(out, "--resume")) == {
        **expected,
        **{k: v for k, v in left(folder).items() if first.name in k},
    }
    shutil.rmtree(out)
    assert "--resume goes on from the last checkpoint" in stopped(signals=2)
    assert left(trainer.finish(out, "--resume")) == expected


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(spec: Path) -> None:
    experiment = load(spec)
    folder = train(experiment).folder
    shutil.move(folder / "checkpoints", folder / "elsewhere")
    before = left(folder)
    with pytest.raises(CheckpointError, match=r"holds no checkpoint, and the run has recorded 4 steps\. Put it right"):
        train(experiment, resume=True)
    assert left(folder) == before

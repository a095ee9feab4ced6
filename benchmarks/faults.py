"""What can a run not survive? Kills, signals, two processes in one folder, damaged files, outages and failing parts.

    python benchmarks/faults.py                # slow: about half an hour on one core
    python benchmarks/faults.py --kills 2 --pairs 1 --files 20 --parts 2

Prints a table in Markdown: what was done, how often, and how often the run held. Held means: after a kill, a signal, an
outage or a failing component, `train --resume` arrives at the weights, trajectories and figures of a run that nothing
happened to, bit for bit; of two processes one works and the other is told who does; a damaged file is read as it was or
refused with its name. Whatever did not hold is printed with what was said, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sdsearch.errors import SdsearchError
from sdsearch.report.page import page
from sdsearch.runs import checkpoint
from sdsearch.runs.folder import Run

SPEC = """
base: {base}
name: small
out: {folder}/runs
environment: {{retriever: {{type: "flaky:Flaky"}}, patience: {{retries: 0, pause: 0}}}}
objective: {{credit: [group_mean, {{type: "flaky:Nothing"}}], terms: [clipped_pg, {{type: distill, hint: hindsight}}]}}
train:
  {{steps: 4, questions: 2, group: 3, checkpoint_every: 2, evaluate_every: 2, max_outage_rate: 0, learning_rate: 0.001}}
evaluate: {{questions: 4}}
"""

PARTS = '''
"""A retriever and a credit that fail in a chosen call, in a chosen way."""

import os

from sdsearch.contracts.credit import GroupCredit
from sdsearch.contracts.retrieval import Retriever
from sdsearch.crediting.per_turn import whole
from sdsearch.envs.retrieval.bm25 import BM25

WHO, WHAT, AT = os.environ.get("FAIL", "--0").split("-")
ERRORS = {each.__name__: each for each in (ValueError, KeyError, MemoryError, OSError, TimeoutError)}
CALLS = {"retriever": 0, "credit": 0}


def fail(who):
    CALLS[who] += 1
    if who == WHO and CALLS[who] == int(AT):
        raise ERRORS[WHAT]("as it was told to")


class Flaky(Retriever):
    def open(self):
        return Opened(BM25(corpus={"type": "atlas"}).open())


class Opened:
    def __init__(self, inner):
        self.inner = inner

    def search(self, queries, k):
        fail("retriever")
        return self.inner.search(queries, k)


class Nothing(GroupCredit):
    def of_group(self, group):
        fail("credit")
        return [whole(t, 0.0) for t in group.kept]
'''

PROGRAM = "import sys; from sdsearch.cli import main; sys.argv = ['sdsearch', 'train', *sys.argv[1:]]; main()"


class Process(NamedTuple):
    """A training in a process of its own."""

    popen: subprocess.Popen[str]
    log: Path

    def end(self) -> tuple[int, str]:
        """Wait for it; return its exit code and what it said."""
        return self.popen.wait(), self.log.read_text()


class Lab:
    """A folder, a spec, and what an undisturbed run of it leaves."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Write the spec and run it once."""
        self.folder, self.dice, self.numbers = folder, random.Random(seed), itertools.count()
        self.spec = folder / "small.yaml"
        base = Path(__file__).resolve().parents[1] / "specs" / "sd_search.yaml"
        self.spec.write_text(SPEC.format(folder=folder, base=base))
        (folder / "flaky.py").write_text(PARTS)
        since = time.monotonic()
        out = self.place()
        code, said = self.train(out).end()
        self.seconds, self.run = time.monotonic() - since, out / "small" / "0"
        if code:
            raise SystemExit(said)
        self.expected = left(self.run)

    def place(self) -> Path:
        """Return a folder for another run."""
        return self.folder / f"out_{next(self.numbers)}"

    def train(self, out: Path, *words: str, fail: str = "") -> Process:
        """Start a training."""
        log = out.with_suffix(f".{next(self.numbers)}.log")
        paths = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, **({"FAIL": fail} if fail else {})}
        command = [sys.executable, "-c", PROGRAM, str(self.spec), "--out", str(out), *words]
        with log.open("w") as file:
            started = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True)
        return Process(started, log)

    def arrives(self, out: Path) -> str:
        """Go on with a run; return what is wrong with where it arrives, nothing if it is where it should be."""
        code, said = self.train(out, "--resume").end()
        if code:
            return f"exit code {code}: {said[-500:]}"
        got = left(out / "small" / "0")
        return ", ".join(
            sorted(name for name in got.keys() | self.expected if got.get(name) != self.expected.get(name))
        )

    def killed(self) -> str:
        """Kill a run at a random moment, with no warning."""
        out = self.place()
        process = self.train(out)
        moment = time.monotonic() + self.dice.uniform(0.3, 1) * self.seconds
        while time.monotonic() < moment and process.popen.poll() is None:
            time.sleep(0.01)
        process.popen.kill()
        process.end()
        return self.arrives(out)

    def asked(self) -> str:
        """Ask a run to end, as schedulers and closed terminals do."""
        out = self.place()
        process = self.train(out)
        number = self.dice.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
        while not (out / "small" / "0" / "metrics.jsonl").exists() and process.popen.poll() is None:
            time.sleep(0.01)
        time.sleep(self.dice.uniform(0, 0.3) * self.seconds)
        process.popen.send_signal(number)
        code, said = process.end()
        if code not in (0, 130) or (code and not checkpoint.saved(out / "small" / "0" / "checkpoints")):
            return f"{number.name}: exit code {code}: {said[-500:]}"
        return self.arrives(out)

    def paired(self) -> str:
        """Start two processes in one folder, at nearly the same moment, with all that one may say."""
        out = self.place()
        words = [[], ["--resume"], ["--fresh"]]
        first = self.train(out, *self.dice.choice(words))
        time.sleep(self.dice.uniform(0, 0.5) * self.seconds)
        ends = [process.end() for process in (self.train(out, *self.dice.choice(words)), first)]
        fine = [code for code, said in ends if code == 0]
        refused = [
            said for code, said in ends if code == 1 and ("is in use by process" in said or "holds a run" in said)
        ]
        steps = [m["step"] for m in Run.open(out / "small" / "0").metrics() if "train" in m]
        held = len(fine) + len(refused) == 2 and fine and steps == [1, 2, 3, 4]
        return "" if held else f"steps {steps}: {[(code, said[-300:]) for code, said in ends]}"

    def failing(self) -> str:
        """Let the retriever or a credit fail in a random call: an outage, or an error of any kind."""
        who, out = self.dice.choice(["retriever", "credit"]), self.place()
        names = ["ValueError", "KeyError", "MemoryError", *(["OSError", "TimeoutError"] if who == "retriever" else [])]
        what = self.dice.choice(names)
        code, said = self.train(out, fail=f"{who}-{what}-{self.dice.randrange(1, 7)}").end()
        if code == 0:
            return self.arrives(out)  # the call never came
        if code != 1 or "Traceback" in said or "--resume from" not in said:
            return f"{who} {what}: exit code {code}: {said[-500:]}"
        return self.arrives(out)

    def damaged(self) -> str:
        """Damage a random file of a run that is done, and read it by all that reads it."""
        copy = self.place()
        shutil.copytree(self.run, copy)
        file = self.dice.choice(sorted(p for p in copy.rglob("*") if p.is_file() and p.suffix not in (".html", ".png")))
        data = bytearray(file.read_bytes())
        if not data:
            return ""
        for _ in range(self.dice.choice([1, 1, 100])):
            data[self.dice.randrange(len(data))] = self.dice.randrange(256)
        same = bytes(data) == file.read_bytes()
        file.write_bytes(data)
        run = Run.open(copy)
        try:
            page(copy)
            for name in run.names:
                run.groups(name)
            for step in run.steps:
                run.table(step)
            for path in checkpoint.saved(run.checkpoints):
                checkpoint.load(path)
        except SdsearchError as error:
            return "" if file.name in str(error) or file.parent.name in str(error) else f"{file}: {error}"
        except Exception as error:
            return f"{file}: {type(error).__name__}: {error}"
        finally:
            shutil.rmtree(copy)
        return "" if same or "checkpoints" not in file.parts else f"{file}: damage went unnoticed"


def left(folder: Path) -> dict[str, object]:
    """Return what a run leaves, but times, what its retriever was asked, and where it is."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = [{k: v for k, v in line.items() if k not in ("seconds", "retrieval", "spent")} for line in lines]
    files = [*(folder / "trajectories").glob("*"), folder / "checkpoints" / "step_4" / "model.safetensors"]
    return {"metrics.jsonl": figures, **{p.name: p.read_bytes() for p in files}}


def rows(lab: Lab, options: argparse.Namespace) -> Iterator[tuple[str, int, Callable[[], str]]]:
    """Yield what is done, how often, and how."""
    yield "killed at a random moment (SIGKILL)", options.kills, lab.killed
    yield "asked to end (SIGTERM, SIGHUP, SIGINT)", options.kills, lab.asked
    yield "two processes in one folder", options.pairs, lab.paired
    yield "retriever or credit fails in a random call", options.parts, lab.failing
    yield "a file of a run damaged", options.files, lab.damaged


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("kills", 30), ("pairs", 12), ("parts", 20), ("files", 400), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    options, wrong = parser.parse_args(), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), options.seed)
        print("| what was done | times | held |\n|---|---|---|", flush=True)
        for what, count, do in rows(lab, options):
            said = [do() for _ in range(count)]
            print(f"| {what} | {count} | {sum(not each for each in said)} |", flush=True)
            wrong += [f"{what}: {each}" for each in said if each]
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

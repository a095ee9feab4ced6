"""How long does a command take that only reads? `--help` and `check`, beside the packages that any of them needs.

    python benchmarks/light.py [--rounds 5]

Each command runs in a process of its own; printed are the medians, and what each takes beyond the bare packages.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SPECS = sorted((Path(__file__).parents[1] / "specs").rglob("*.yaml"))
BARE = [sys.executable, "-c", "import pydantic, yaml, typer, rich"]
COMMAND = [sys.executable, "-m", "sdsearch"]


def seconds(command: Sequence[str], rounds: int) -> float:
    """Return the median time of a command."""
    times = []
    for _ in range(rounds):
        since = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - since)
    return statistics.median(times)


def main() -> None:
    """Print the bare packages, `--help`, the slowest and the median spec, and all specs in one command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    bare = seconds(BARE, rounds)
    each = {str(path): seconds([*COMMAND, "check", "--quiet", str(path)], max(1, rounds // 2)) for path in SPECS}
    slowest = max(each, key=each.__getitem__)
    print(f"pydantic, yaml, typer, rich: {bare:.2f} s")
    rows = {
        "--help": seconds([*COMMAND, "--help"], rounds),
        f"check, median of {len(each)} specs": statistics.median(each.values()),
        f"check {Path(slowest).name}, the slowest": each[slowest],
        f"check all {len(each)} at once": seconds([*COMMAND, "check", "--quiet", *each], rounds),
    }
    for name, value in rows.items():
        print(f"{name}: {value:.2f} s, {value - bare:+.2f} s")


if __name__ == "__main__":
    main()

"""What an evaluation of 300 questions takes with the embedded policy: seconds on the clock, and of the processor.

    python benchmarks/evaluation.py [KEY=VALUE ...]

The index of the spec is built before, if it is not there.
"""

from __future__ import annotations

import sys
import tempfile
import time

from sdsearch.evaluation.evaluate import evaluate
from sdsearch.spec import load

QUESTIONS = 300


def main() -> None:
    """Evaluate twice in one folder: the second time nothing is left to play."""
    experiment = load("specs/sd_search.yaml", [f"evaluate.questions={QUESTIONS}", *sys.argv[1:]])
    experiment.environment.open().fingerprint  # noqa: B018  # opens the retriever, which builds the index
    with tempfile.TemporaryDirectory() as folder:
        for what in ("played", "read back"):
            clock, processor = time.perf_counter(), time.process_time()
            done = evaluate(experiment, folder=folder)
            seconds, busy = time.perf_counter() - clock, time.process_time() - processor
            print(
                f"{what}: {len(done.groups)} questions, {seconds:.1f} s, {busy:.1f} s of processor; "
                f"exact match {done.figures['exact_match']:.3f}"
            )


if __name__ == "__main__":
    main()

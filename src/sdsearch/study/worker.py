"""The process of one run: `python -m sdsearch.study.worker SPEC` is `sdsearch train SPEC --resume` on a leash.

Its standard input is held open by the study. When that ends, however it ends, the run stops after its step with a
checkpoint. Until then it holds a lock on its folder: what takes its place waits for it, and no step is run twice.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from rich.console import Console

from sdsearch.errors import SdsearchError
from sdsearch.spec import load
from sdsearch.terminal.waiting import alone


def follow() -> None:
    """Interrupt this process when its standard input ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def main(spec: Path) -> None:
    """Train from where the run stopped; the process that runs it now, if there is one, ends first."""
    # A study that was begun in the background of a script hands on that interrupts are to be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=follow, daemon=True).start()
    with alone(spec.with_suffix(".lock"), f"waiting for another process that runs {spec}"):
        experiment = load(spec)
        from sdsearch.learning.train import train
        from sdsearch.report.table import show

        run = train(experiment, resume=True)
        show(run.metrics(), Console())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except SdsearchError as error:
        sys.exit(str(error))
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted; the same study goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)

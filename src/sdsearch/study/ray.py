"""The runs of a study as tasks of a Ray cluster: the same processes, on whichever machine has room.

Nothing is sent but a few paths. Every machine has to see the folder in which the command was given (a network file
system), with the same Python environment, at the same path: specs, locks and results lie there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from sdsearch.config.discovery import remedy
from sdsearch.errors import StudyError
from sdsearch.study.runs import PAUSE, Attempt, Call, Stop, attempt
from sdsearch.study.spec import Study


def remote(call: Call) -> int:
    """Run one process on the machine that this task landed on."""
    if not call.spec.is_file():
        raise StudyError(
            f"{call.spec} is not there on {socket.gethostname()}: --ray needs a folder that every machine sees at the "
            "same path"
        )
    node = import_module("ray").get_runtime_context().get_node_id()
    with call.log.open("a") as log:
        log.write(f"on {socket.gethostname()}, Ray node {node}\n")
    return attempt(call, Stop())


@contextmanager
def cluster(study: Study, address: str) -> Iterator[Attempt]:
    """Yield what plays a run on the cluster at `address`: host:port, "auto" for the one of this machine, or "local"."""
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError as error:
        raise StudyError(f"--ray needs the package ray, which is not installed: {remedy('ray')}") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise StudyError(f"there is no Ray cluster at {address}: {error}. Start one with `ray start --head`") from error
    # A task that is lost with its machine is tried again elsewhere: it resumes, as any run does.
    task = ray.remote(num_cpus=study.threads, num_gpus=study.gpus, max_retries=3)(remote)

    def play(call: Call, stop: Stop) -> int:
        future = task.remote(call)
        asked = False
        while not ray.wait([future], timeout=PAUSE)[0] and not stop.now.is_set():
            if stop.asked.is_set() and not asked:
                asked = True
                ray.cancel(future)
        if stop.now.is_set():
            ray.cancel(future, force=True)
        try:
            return int(ray.get(future))
        except ray.exceptions.TaskCancelledError:
            return 130
        except ray.exceptions.RayError as error:
            with call.log.open("a") as log:
                log.write(f"{error}\n")
            return 1

    try:
        yield play
    finally:
        ray.shutdown()

"""The processes that train together: what is shared out among them, gathered and summed.

With one process nothing is sent, and everything is as if there were no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import Parameter

from sdsearch.errors import SdsearchError

T = TypeVar("T")


class Processes:
    """All processes of a run, seen from one of them."""

    def __init__(self, accelerator: Accelerator) -> None:
        """Take what starts, places and connects them."""
        self.accelerator = accelerator
        self.count, self.index = accelerator.num_processes, accelerator.process_index
        self.main = accelerator.is_main_process

    def share(self, items: Sequence[T]) -> list[T]:
        """Return those of some items that this process takes: each is taken by exactly one."""
        return list(items[self.index :: self.count])

    def gather(self, value: T) -> list[T]:
        """Return what each process has, in their order."""
        return list(gather_object([value])) if self.count > 1 else [value]

    def collect(self, items: Sequence[T]) -> list[T]:
        """Return the items of all processes, in the order that they had before they were shared out."""
        parts = self.gather(list(items))
        longest = max(map(len, parts))
        return [part[i] for i in range(longest) for part in parts if i < len(part)]

    def attempt(self, work: Callable[[], T]) -> T:
        """Return what this process's work gives. Where that of any process fails, all raise what it raised.

        Otherwise one would leave the others waiting for it. What was not raised on purpose, and may not be fit to be
        sent, is told of in the others.
        """
        done: T | None = None
        failed: Exception | None = None
        try:
            done = work()
        except Exception as error:
            failed = error
        told = failed
        if failed is not None and not isinstance(failed, SdsearchError):
            told = SdsearchError(f"process {self.index} failed with {type(failed).__name__}: {failed}")
        if failure := next((e for e in self.gather(told) if e is not None), None):
            raise failure if failed is told or failed is None else failed
        return cast("T", done)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count == 1:
            return value
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return total

    def sum_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Add up the gradients of all processes, in each of them: each has those of its own share of the rows."""
        if self.count > 1:
            for parameter in parameters:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.sum(gradient)

    def wait(self) -> None:
        """Wait until every process is here."""
        self.accelerator.wait_for_everyone()

    def leave(self) -> None:
        """Wait until every process is done, and let go of the others: one that left first would take them along."""
        if self.count > 1:
            self.wait()
            self.accelerator.end_training()

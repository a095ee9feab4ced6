"""The processes that train together: what is shared out among them, gathered and summed.

With one process nothing is sent, and everything is as if there were no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

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

    def concatenate(self, items: Sequence[T]) -> list[T]:
        """Return the items of all processes, those of the first first."""
        return [item for part in self.gather(list(items)) for item in part]

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return total

    def wait(self) -> None:
        """Wait until every process is here."""
        self.accelerator.wait_for_everyone()

"""What one process of `gpu.py` does, and how it tells what it finds."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from pydantic_core import to_json

TINY = (
    "environment.retriever={type: bm25, corpus: {type: atlas}}",
    "sampling.max_new_tokens=16",
    "train={steps: 1, questions: 2, group: 3}",
    "evaluate.questions=4",
)


class Job(NamedTuple):
    """What a process does."""

    part: str
    options: argparse.Namespace
    until: float
    """When it should be done, in seconds of `time.monotonic`."""
    arm: str = ""
    seed: int = 0

    @property
    def settings(self) -> list[str]:
        """What every spec is loaded with."""
        where = [f"environment.retriever.path={self.options.index}"] if self.options.index else []
        tiny = TINY if self.options.tiny else ()
        return [*where, f"model.device={self.options.device}", *tiny, *self.options.set]

    def tell(self, **figures: Any) -> None:
        """Print a line of figures and keep it."""
        about = {"arm": self.arm, "seed": self.seed} if self.arm else {}
        line = to_json({"part": self.part, **about, **figures}, inf_nan_mode="null").decode()
        print(line, flush=True)
        with (self.options.out / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

"""What is learned and from which groups: an objective, a source, and phases that have one of each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from sdsearch.config.component import Settings
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.loss import Term


class Objective(Settings):
    """Two sums: advantage per sampled token, and a loss over rows of the token table."""

    credit: list[Credit] = Field(default_factory=list)
    """Summed per token; without any, nothing is credited and the terms that need credit have no rows."""
    terms: list[Term] = Field(min_length=1)
    """Summed, each times its weight."""

    @property
    def teachers(self) -> frozenset[str]:
        """The weights that credits and terms ask for at some step, "live" among them; all others must be kept."""
        used = [t.needs for t in self.terms if t.weight_at(sys.maxsize)]
        return frozenset().union(*used, *(c.needs for c in self.credit)) - {"critic"}

    @property
    def critic(self) -> bool:
        """Whether some credit needs a critic."""
        return any("critic" in c.needs for c in self.credit)


class Source(Settings):
    """Where the groups of a step come from."""

    type: Literal["played", "stored"] = "played"
    """"played": the agent plays the step's questions; "stored": they are read back from a run and not played."""
    run: Path | None = None
    """The folder of the run whose groups are read back, its first step first and, after its last, its first again; by
    default those of this run's own earlier phases."""
    filter: Literal["none", "mixed"] = "none"
    """"mixed": only groups whose rewards differ (DAPO's dynamic sampling, 2503.14476, section 3.2). Played ones are
    topped up with groups alike where `rounds` did not bring enough."""
    rounds: int = Field(3, ge=1, le=1000)
    """The most often that a step's worth of questions is played for `filter`; verl's limit is 10."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type == "played" and self.run is not None:
            raise ValueError("`run` is given and nothing is read from it: expected `type: stored`, or no `run`")
        return self


class Phase(Settings):
    """Steps of a run with an objective and a source of their own."""

    steps: int = Field(ge=1, le=10**8)
    """The number of steps."""
    objective: Objective
    """What is learned. Steps of its schedules are counted from the beginning of the phase."""
    source: Source = Source()
    """Where the groups come from."""


class Stage(NamedTuple):
    """A phase in its place; a run without `train.phases` has one."""

    number: int
    """From 1; 0 in a run without phases."""
    first: int
    """Steps before it."""
    steps: int
    objective: Objective
    source: Source

    @property
    def last(self) -> int:
        """Steps up to its end."""
        return self.first + self.steps

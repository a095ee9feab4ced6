"""A weight that changes with the step."""

from __future__ import annotations

from pydantic import Field

from sdsearch.components.component import Settings


class Schedule(Settings):
    """A weight that is zero before `from_step` and `value` from then on. Steps count from 0."""

    from_step: int = Field(0, ge=0)
    """So many steps go without: SD-Search has 50."""
    value: float = 1.0
    ramp: int = Field(0, ge=0)
    """Rise in so many equal parts, the last of which reaches `value`; 0 and 1: at once."""

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        done = step - self.from_step + 1
        return self.value * min(1.0, max(0, done) / max(1, self.ramp))

"""A control: the wrapped credit without its places, every trajectory's mean on all of its tokens.

A method that credits turns also changes how trajectories compare: by its baseline, its scale, or by what it knows. What
is left of its gain when its turns can no longer be told apart is not due to finding the turns that mattered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.wrapper import Wrapper
from sdsearch.objective import Credit
from sdsearch.probe import Probe
from sdsearch.trajectory import Group


class Broadcast(Wrapper):
    """The mean of the credit `of` over the credited tokens of a trajectory, on each of these; NaN stays NaN."""

    of: Credit = Field(default="gigpo", validate_default=True)
    """The credit whose sum per trajectory is kept, and whose places are lost."""

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        return [self.of.weight * level(part) for part in self.of.credits(groups, probe)]


def level(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the mean of the numbers in the place of each of them."""
    scored = ~np.isnan(part)
    return np.where(scored, part[scored].mean() if scored.any() else np.nan, np.nan)

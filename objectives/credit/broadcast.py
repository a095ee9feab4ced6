"""A control: the wrapped credit without its places, every trajectory's mean on all of its tokens.

A method that credits turns also changes how trajectories compare: by its baseline, its scale, or by what it knows. What
is left of its gain when its turns can no longer be told apart is not due to finding the turns that mattered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.contracts.credit import Advantages, Credit, Probe
from sdsearch.core.trajectory import Group
from sdsearch.crediting.wrapper import Wrapper


class Broadcast(Wrapper):
    """The mean of the credit `of` over the credited tokens of a trajectory, on each of these; NaN stays NaN."""

    of: Credit = Field(default="gigpo", validate_default=True)
    """The credit whose sum per trajectory is kept, and whose places are lost."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        values, targets = self.of.weighted(groups, probe)
        return Advantages([level(part) for part in values], targets)


def level(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the mean of the numbers in the place of each of them."""
    scored = ~np.isnan(part)
    return np.where(scored, part[scored].mean() if scored.any() else np.nan, np.nan)

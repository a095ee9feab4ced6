"""A control: every token deserves the same, whatever came of it.

This raises the likelihood of whatever the policy samples: what it does to a run is done by the loss, the clip and the
optimiser, not by credit. Everything a method gains has to be gained beyond it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdsearch.objective import Credit, whole
from sdsearch.trajectory import Group


class Constant(Credit):
    """`value` on every sampled token."""

    value: float = 1.0
    """The credit of every token; below 0 what was sampled becomes less likely."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        return [whole(t, self.value) for t in group.kept]

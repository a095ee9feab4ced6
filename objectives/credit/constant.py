"""A control: every token deserves the same, whatever came of it.

This raises the likelihood of whatever the policy samples: what it does to a run is done by the loss, the clip and the
optimiser, not by credit. Everything a method gains has to be gained beyond it.
"""

from __future__ import annotations

from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.per_turn import whole


class Constant(GroupCredit):
    """`value` on every sampled token."""

    value: float = 1.0
    """The credit of every token; below 0 what was sampled becomes less likely."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def of_group(self, group: Group) -> Numbers:
        return [whole(t, self.value) for t in group.kept]

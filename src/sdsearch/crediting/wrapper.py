"""A credit that is made of another one: `of` is asked, before or after something is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Credit
from sdsearch.core.trajectory import Group
from sdsearch.crediting.per_turn import by_group


class Wrapper(Credit):
    """What it needs, and what it objects to in an experiment, are those of the credit `of`."""

    of: Credit = Field(default="group_mean", validate_default=True)
    """The credit that is wrapped; its `weight` counts."""

    @property
    def needs(self) -> frozenset[str]:
        return self.of.needs

    @property
    def heeds_reward(self) -> bool:
        return self.of.heeds_reward

    def objection(self, conditions: Conditions) -> str | None:
        return self.of.objection(conditions)


class RewardWrapper(Wrapper):
    """One that hands the credit `of` other rewards: it has to go by them."""

    def objection(self, conditions: Conditions) -> str | None:
        if not self.of.heeds_reward:
            return f"got of: {self.of.type}, which does not go by the reward of the trajectory, so that nothing changes"
        return super().objection(conditions)


def rewarded(groups: Sequence[Group], rewards: Iterable[float]) -> list[Group]:
    """Return groups whose kept trajectories have `rewards`, group after group; lost ones keep theirs and their place.

    Raises `ValueError` unless there is exactly one reward for each.
    """
    changed = []
    for group, numbers in by_group(groups, rewards, "rewards"):
        kept = [i for i, t in enumerate(group.trajectories) if not t.lost]
        new = dict(zip(kept, numbers, strict=True))
        trajectories = (replace(t, reward=new.get(i, t.reward)) for i, t in enumerate(group.trajectories))
        changed.append(replace(group, trajectories=tuple(trajectories)))
    return changed

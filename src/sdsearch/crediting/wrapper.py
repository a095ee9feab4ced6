"""A credit that is made of another one: `of` is asked, before or after something is changed."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdsearch.objective import Credit


class Wrapper(Credit):
    """What it needs and what it has against an experiment are those of the credit `of`."""

    of: Credit = Field(default="group_mean", validate_default=True)
    """The credit that is wrapped; its `weight` counts."""

    @property
    def needs(self) -> frozenset[str]:
        return self.of.needs

    @property
    def heeds_reward(self) -> bool:
        return self.of.heeds_reward

    def objection(self, experiment: Any) -> str | None:
        return self.of.objection(experiment)


class RewardWrapper(Wrapper):
    """One that hands the credit `of` other rewards: it has to go by them."""

    def objection(self, experiment: Any) -> str | None:
        if not self.of.heeds_reward:
            return f"got of: {self.of.type}, which does not go by the reward of the trajectory, so that nothing changes"
        return super().objection(experiment)

"""What a component may look at before it objects to an experiment: how it is trained, and beside which credits."""

from __future__ import annotations

from typing import NamedTuple

from sdsearch.contracts.credit import Credit


class Conditions(NamedTuple):
    """The conditions of an experiment, as `Component.objection` is given them."""

    group: int
    """Rollouts per question."""
    questions: int
    """Questions per step."""
    epochs: int
    """How often each step's rollouts are learned from."""
    rollouts: str
    """The type of the rollout strategy."""
    credits: tuple[Credit, ...]
    """The credits of the objective."""

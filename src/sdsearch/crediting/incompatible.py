"""What several components have against the same conditions: see `Component.objection`."""

from __future__ import annotations

from sdsearch.contracts.conditions import Conditions


def alone(conditions: Conditions) -> str | None:
    """Object to groups of one, for what compares the rollouts of a question."""
    if conditions.group > 1:
        return None
    return "train.group is 1, so that no rollout has others to be compared with: expected at least 2"


def too_many(initial: int, conditions: Conditions) -> str | None:
    """Object to more first rollouts than there are to be in all, for what plays the others from where these were."""
    if initial <= conditions.group:
        return None
    return f"got initial: {initial}, expected at most train.group, which is {conditions.group}"


def uncredited(conditions: Conditions) -> str | None:
    """Object to an objective without credit, for a term that has no rows then."""
    return (
        None
        if conditions.credits
        else "objective.credit is empty, so that it has no rows: add a credit, such as group_mean"
    )


def two_critics(conditions: Conditions) -> str | None:
    """Object to a second credit that teaches the critic: there is one, which would be told two things."""
    names = [c.type for c in conditions.credits if "critic" in c.needs]
    return f"the credits {', '.join(names)} would all teach the one critic: keep one of them" if names[1:] else None


SELF = "without a hint the live teacher is the policy itself: name a hint, or other weights"
"""What there is to say against such a teacher."""

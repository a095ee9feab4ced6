"""What several components have against the same experiments: see `Component.objection`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from sdsearch.spec import Experiment


def alone(experiment: Experiment) -> str | None:
    """Object to groups of one, for what compares the rollouts of a question."""
    if experiment.train.group > 1:
        return None
    return "train.group is 1, so that no rollout has others to be compared with: expected at least 2"


def too_many(initial: int, experiment: Experiment) -> str | None:
    """Object to more first rollouts than there are to be in all, for what plays the others from where these were."""
    if initial <= (group := experiment.train.group):
        return None
    return f"got initial: {initial}, expected at most train.group, which is {group}"


def uncredited(experiment: Experiment) -> str | None:
    """Object to an objective without credit, for a term that has no rows then."""
    if experiment.objective is None or experiment.objective.credit:
        return None
    return "objective.credit is empty, so that it has no rows: add a credit, such as group_mean"


def misfits(experiment: Experiment) -> list[tuple[tuple[str, ...], str]]:
    """Return what does not fit together in an objective that each of its parts would accept, and where it stands."""
    from sdsearch.objective import Teacher

    objective, found, known = experiment.objective, list[tuple[tuple[str, ...], str]](), get_args(Teacher)
    if objective is None:
        return found
    if objective.credit and not any(t.heeds_credit for t in objective.terms):
        found += [(("credit",), "no term heeds it: add a policy gradient, such as clipped_pg, or leave it empty")]
    if strange := objective.teachers - set(known):
        found += [((), f"a component asks for weights {', '.join(sorted(strange))}, expected {', '.join(known)}")]
    if "external" in objective.teachers and experiment.teacher is None:
        found += [((), "a component asks for `teacher: external`, and the spec has no `teacher`")]
    return found


def two_critics(experiment: Experiment) -> str | None:
    """Object to a second credit that teaches the critic: there is one, which would be told two things."""
    credit = experiment.objective.credit if experiment.objective else []
    names = [c.type for c in credit if "critic" in c.needs]
    return f"the credits {', '.join(names)} would all teach the one critic: keep one of them" if names[1:] else None

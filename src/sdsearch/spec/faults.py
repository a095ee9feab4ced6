"""What does not fit together in a spec whose parts are all well by themselves, and where it stands."""

from __future__ import annotations

import sys
from typing import get_args

from sdsearch.config.component import Component
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.engine import Model
from sdsearch.contracts.hint import Teacher
from sdsearch.spec.objective import Objective
from sdsearch.spec.sections import STOOD_IN_FOR, Data, Train

Where = tuple[str | int, ...]
Faults = list[tuple[Where, str]]


def objections(where: Where, part: Component, conditions: Conditions) -> Faults:
    """Return what a component says against the conditions of an experiment."""
    why = part.objection(conditions)
    return [(where, f"{part.type}: {why}")] if why else []


def unasked(seeds: int | None, data: Data | None, held_out: int | None) -> Faults:
    """Object to an environment that has two things to begin an episode from, or too few."""
    if seeds is None:
        return []
    if data:
        return [(("data",), f"got questions and an environment that begins from {seeds} seeds: leave `data` out")]
    if held_out is None:
        why = f"got null, all, of an environment with {seeds} seeds, expected how many of them are held out"
        return [(("evaluate", "questions"), why)]
    if seeds <= held_out:
        why = f"got {held_out} held-out episodes of an environment with {seeds} seeds, expected fewer"
        return [(("evaluate", "questions"), why)]
    return []


def unphased(train: Train, objective: Objective | None) -> Faults:
    """Return what stands beside `train.phases` that they stand in for, and phases that do not fit together."""
    phases, faults = train.phases, Faults()
    for i, phase in enumerate(phases or ()):
        if phase.source.type == "stored" and phase.source.run is None and i == 0:
            why = "got `stored` without `run` in the first phase, which has no earlier steps: name a `run`"
            faults += [(("train", "phases", i, "source"), why)]
        for j, term in enumerate(phase.objective.terms):
            if term.weight_at(sys.maxsize) and not term.weight_at(phase.steps - 1):
                why = (
                    f"{term.type}: its weight is 0 in all {phase.steps} steps of this phase: steps of a schedule are "
                    "counted from the beginning of the phase"
                )
                faults += [(("train", "phases", i, "objective", "terms", j, "weight"), why)]
    if not phases:
        if train.source.type == "stored" and train.source.run is None:
            why = "got `stored` without `run`, and there is no earlier phase: name the folder of a run"
            faults += [(("train", "source"), why)]
        return faults
    given: list[tuple[Where, bool]] = [(("objective",), objective is not None)]
    given += [(("train", key), key in train.model_fields_set) for key in STOOD_IN_FOR]
    return faults + [
        (
            where,
            "got this and `train.phases`, each of which has its own: leave one of them out (or null, over a `base`)",
        )
        for where, there in given
        if there
    ]


def misfits(objective: Objective, teacher: Model | None) -> Faults:
    """Return what does not fit together in an objective that each of its parts would accept, and where it stands."""
    faults, known = Faults(), get_args(Teacher)
    if objective.credit and not any(t.heeds_credit for t in objective.terms):
        faults += [(("credit",), "no term heeds it: add a policy gradient, such as clipped_pg, or leave it empty")]
    if strange := objective.teachers - set(known):
        faults += [((), f"a component asks for weights {', '.join(sorted(strange))}, expected {', '.join(known)}")]
    if "external" in objective.teachers and teacher is None:
        faults += [((), "a component asks for `teacher: external`, and the spec has no `teacher`")]
    return faults

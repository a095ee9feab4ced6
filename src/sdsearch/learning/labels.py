"""The flip test during a run: now and then, on a few groups, does the teacher's hint do what its labels say?

See `sdsearch.hinting.flip`. One attempt of a group is scored, in turn a right one and a wrong one, so that it costs a
small part of a step; nothing of the step is changed by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import numpy as np

from sdsearch.config.component import named
from sdsearch.contracts.credit import Credit, Probe
from sdsearch.contracts.hint import Hint, Hints, Teacher
from sdsearch.contracts.loss import Term
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group
from sdsearch.errors import ContextError
from sdsearch.hinting.flip import Queries
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.spec import Objective


class Hinted(NamedTuple):
    """A term or credit that has a hint."""

    name: str
    part: Term | Credit
    hint: Hint

    @property
    def teacher(self) -> Teacher:
        """Who reads the hint."""
        reader: Teacher = getattr(self.part, "teacher", "live")
        return reader


def hinted(objective: Objective, step: int) -> Iterator[Hinted]:
    """Yield the terms and credits with a hint that count at a step, from 0."""
    parts: list[Term | Credit] = [*objective.terms, *objective.credit]
    for name, part in named(parts):
        hint = getattr(part, "hint", None)
        if isinstance(hint, Hint) and not (isinstance(part, Term) and not part.weight_at(step)):
            yield Hinted(name, part, hint)


def hint_figures(
    groups: Sequence[Group], objective: Objective, step: int, term_seed: int, credit_seed: int
) -> dict[str, tuple[float, int]]:
    """Return what the hints of a step say of themselves (`Hint.figures`): a sum and a count by "<term>/<figure>".

    The seeds are those that terms and credits are given, `step` is counted from the beginning of the phase.
    """
    return {
        f"{name}/{figure}": pair
        for name, part, hint in hinted(objective, step)
        for figure, pair in hint.figures(groups, term_seed if isinstance(part, Term) else credit_seed).items()
    }


def turned(hint: Hint) -> Hint:
    """Return a hint with every label turned round; of one without labels, that of another question."""
    return hint.twins().get("flipped") or Placebo(hint=hint)


def measure(
    groups: Sequence[Group], objective: Objective, step: int, probe: Probe, seed: int, most: int
) -> dict[str, list[tuple[float, float]]]:
    """Return what `sdsearch.monitoring.labels.Measured` says of `most` groups at most that have both outcomes.

    `step` is counted from the beginning of the phase. A hint whose twin does not fit the model is not measured.
    """
    dice = Random(f"labels/{seed}")
    outcomes = [[correct(t) for t in group.kept] for group in groups]
    mixed = [i for i, right in enumerate(outcomes) if len(set(right)) > 1]
    chosen = set(dice.sample(mixed, min(most, len(mixed))))
    scored: list[bool] = []
    kind = dice.random() < 0.5
    for i, right in enumerate(outcomes):
        one = -1
        if i in chosen:
            one, kind = dice.choice([j for j, r in enumerate(right) if r == kind]), not kind
        scored += [j == one for j in range(len(right))]
    found: dict[str, list[tuple[float, float]]] = {}
    queries = Queries(groups)
    for each in hinted(objective, step) if chosen else ():
        name, hint, teacher = each.name, each.hint, each.teacher
        true = probe.logprobs(groups, only(hint.placed(groups, seed), scored), teacher)
        try:
            false = probe.logprobs(groups, only(turned(hint).placed(groups, seed), scored), teacher)
        except ContextError:
            continue  # the run has no use for the twin, so that it may be too long for the model where the hint is not
        effects = queries.effect(true, false)
        known = ~np.isnan(effects)
        found[name] = [
            (float(effects[mine].sum()), float(mine.sum()))
            for mine in (known & (queries.group == i) for i in sorted(chosen))
            if mine.any()
        ]
    return found


def only(texts: Sequence[Hints], scored: Sequence[bool]) -> Hints:
    """Return the hints of the attempts that are scored, group after group, and None for the others."""
    flat = [text for of_group in texts for text in of_group]
    return [text if chosen else None for text, chosen in zip(flat, scored, strict=True)]

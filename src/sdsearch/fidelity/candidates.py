"""What is judged: credits by name, from a file, or all there are; and what self-distillation implies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sdsearch.config.component import Settings, resolve
from sdsearch.config.discovery import known
from sdsearch.config.load import load_as
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Credit, Probe
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.per_turn import by_turn
from sdsearch.errors import ContextError, DataError
from sdsearch.learning.credit import checked
from sdsearch.objectives.credit.log_ratio import LogRatio
from sdsearch.objectives.terms.distill import Distill
from sdsearch.spec import Objective

Candidates = dict[str, Credit]
Skipped = dict[str, str]
"""Why a candidate is not judged, by name."""


class Chosen(Settings):
    """A YAML file that lists credits with their settings."""

    credits: list[Credit]


def candidates(objective: Objective | None, chosen: Sequence[str] = ()) -> tuple[Candidates, Skipped]:
    """Return what is to be judged, by name: `chosen`, each a credit's name or a YAML file, or else all there is.

    That is every credit that can be built without settings, those of the objective as they are set there, and what its
    `distill` terms imply (`log_ratio`). Raises `ComponentError` for an unknown name, `SpecError` for a wrong file.
    """
    if chosen:
        return _numbered((c.type, c) for word in chosen for c in _named(word)), {}
    objective_credits = objective.credit if objective else []
    pairs: list[tuple[str, Credit]] = []
    skipped: Skipped = {}
    for name in known(Credit):
        try:
            pairs += [(name, c) for c in objective_credits if c.type == name] or [(name, resolve(Credit, name)())]
        except ValidationError as error:
            lacking = ", ".join(str(e["loc"][0]) for e in error.errors() if e["loc"])
            skipped[name] = f"it cannot do without settings ({lacking}): give them in a file for --credits"
    pairs += [(c.type, c) for c in objective_credits if c.type not in known(Credit)]
    terms = objective.terms if objective else []
    pairs += [(f"{t.type} (implied)", implied(t)) for t in terms if isinstance(t, Distill)]
    return _numbered(pairs), skipped


def implied(term: Distill) -> LogRatio:
    """Return what a distillation term says of each token, as a credit: the same teacher, hint and tokens."""
    return LogRatio(hint=term.hint, teacher=term.teacher, rows=term.rows)


def _named(word: str) -> list[Credit]:
    path = Path(word)
    return load_as(Chosen, path).credits if path.suffix in (".yaml", ".yml") else [resolve(Credit, word)()]


def _numbered(pairs: Iterable[tuple[str, Credit]]) -> Candidates:
    named: Candidates = {}
    for name, credit in pairs:
        same = sum(n == name or n.startswith(f"{name} #") for n in named)
        named[f"{name} #{same + 1}" if same else name] = credit
    return named


def objections(credits: Mapping[str, Credit], conditions: Conditions, has: frozenset[str]) -> Skipped:
    """Say which credits make no sense under some conditions, or need weights that are not among those that it `has`."""
    skipped = {}
    for name, credit in credits.items():
        lacking = sorted(credit.needs - has)
        why = f"it needs weights that the run did not keep: {', '.join(lacking)}" if lacking else None
        if objection := why or credit.objection(conditions):
            skipped[name] = objection
    return skipped


def credited(
    credits: Mapping[str, Credit], groups: Sequence[Group], probe: Probe
) -> tuple[dict[str, list[NDArray[np.float64]]], Skipped]:
    """Return by name the credit of each turn, [turns] for each kept trajectory: the mean over its credited tokens.

    NaN for a turn without any. What the questions lack something for, or a hint does not fit, is skipped. Raises
    `ComponentError` when a credit returns what it should not.
    """
    by_name, skipped = {}, {}
    for name, credit in credits.items():
        try:
            parts = checked(credit, groups, probe).values
        except (DataError, ContextError) as error:
            skipped[name] = str(error)
            continue
        by_name[name] = [
            np.array([_mean(turn) for turn in by_turn(t, part)], np.float64)
            for t, part in zip(kept(groups), parts, strict=True)
        ]
    return by_name, skipped


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan

"""What the arms of a study are, in words, from their specs alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from sdsearch.components.catalogue import first_line
from sdsearch.components.component import Component
from sdsearch.objective import Credit, Hint
from sdsearch.spec import Experiment

M = TypeVar("M", bound=Component)


def by_arm(specs: dict[str, Experiment], say: Callable[[Experiment], str]) -> str:
    """Say something of every arm, once for those of which it is the same."""
    arms: dict[str, list[str]] = {}
    for arm, spec in specs.items():
        arms.setdefault(say(spec), []).append(f"*{arm}*")
    if len(arms) == 1:
        return f"{next(iter(arms))}, in all arms."
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in arms.items()) + "."


def unshared(specs: dict[str, Experiment]) -> str:
    """Say aloud in what arms differ beside objective and rollouts, where that may be what is seen."""
    parts: dict[str, Callable[[Experiment], object]] = {
        "agent": lambda e: e.agent,
        "environment": lambda e: e.environment,
        "training questions": lambda e: e.data.train,
        "questions a step": lambda e: e.train.questions,
    }
    differing = [
        name for name, of in parts.items() if any(of(e) != of(next(iter(specs.values()))) for e in specs.values())
    ]
    return f" **Arms differ in {', '.join(differing)}: what is seen may be due to that.**" if differing else ""


def section(part: BaseModel) -> str:
    """Return a section of a spec in JSON."""
    return f"`{json.dumps(part.model_dump(mode='json', exclude_none=True))}`"


def data(spec: Experiment) -> str:
    """Say what was learned from, what was judged by, and whether they overlap."""
    train, test = spec.data.train.questions(), spec.data.test.questions()[: spec.evaluate.questions]
    shared = {q.text for q in train} & {q.text for q in test}
    how = "greedily" if spec.evaluate.greedy else "by sampling, as in training"
    return (
        f"{len(train)} training questions {section(spec.data.train)}, judged by the first {len(test)} of "
        f"{section(spec.data.test)}, answered {how}, {len(shared)} questions in both"
    )


def credited(spec: Experiment) -> str:
    """Name credits and terms, each with what it says about itself and the tokens that it works on."""
    assert spec.objective is not None
    said = [
        (c.type, first_line(c.__doc__).rstrip(".")) for credit in spec.objective.credit for c in inside(credit, Credit)
    ]
    credit = [f"`{name}`{f' ({doc})' if doc else ''}" for name, doc in said] or ["no credit"]
    terms = [
        f"`{t.type}`{' on ' + rows + ' tokens' if (rows := getattr(t, 'rows', '')) else ''}"
        for t in spec.objective.terms
    ]
    return f"{', '.join(credit)} in {', '.join(terms)}"


def needed(spec: Experiment) -> str:
    """Name the weights, hints and further rollouts that an arm asks for."""
    assert spec.objective is not None
    parts = [*spec.objective.credit, *spec.objective.terms]
    hints = {hint.type for part in parts for hint in inside(part, Hint)}
    weights = (spec.objective.teachers - {"live"}) | ({"critic"} if spec.objective.critic else set())
    said = list(dict.fromkeys(c.asks for part in parts for c in inside(part, Credit) if c.asks))
    said += [f"hint `{name}`" for name in sorted(hints)] + [f"{name} weights" for name in sorted(weights)]
    said += [f"rollouts `{spec.train.rollouts.type}`"] * (spec.train.rollouts.type != "independent")
    return ", ".join(said) or "nothing"


def inside(part: Component, family: type[M]) -> list[M]:
    """Return a component and those that it is made of, as far as they are of a family."""
    own = [part] if isinstance(part, family) else []
    return own + [c for _, value in part if isinstance(value, Component) for c in inside(value, family)]

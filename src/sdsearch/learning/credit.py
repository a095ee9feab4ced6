"""What the credits of an objective say of a step together; and what a credit has to return, checked by all who ask it.

An array that is a token short, or has a number for each turn, would still be ranked, or shift every later token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdsearch.config.component import named
from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.core.number import LARGEST
from sdsearch.core.trajectory import Group, Trajectory, kept
from sdsearch.errors import ComponentError


class StepAdvantages(NamedTuple):
    """What the credits of an objective say of a step."""

    values: Numbers
    """Their weighted sum: one array per kept trajectory, group after group, shape [sampled tokens]; NaN where all say
    nothing."""
    targets: Numbers | None
    """What the critic should learn, from the credit that has one."""
    parts: Mapping[str, Numbers]
    """What each adds to the sum, by its type; the second of a kind is called "kind_2", and so on."""


def step_advantages(credits: Sequence[Credit], groups: Sequence[Group], probe: Probe | None = None) -> StepAdvantages:
    """Return what credits say of some groups, summed with their weights and one by one.

    A token that some credit leaves out (NaN) has the sum of the others. Without a `probe` only credits that ask for
    none can be had. Raises `ValueError` when a reward is not finite, `ComponentError` when a credit does not fit.
    """
    for group in groups:
        rewards = [t.reward for t in group.kept]
        if not np.isfinite(rewards).all():
            raise ValueError(f"question {group.question.id!r}: got the rewards {rewards}, expected finite numbers")
    totals = [np.full(t.sampled, np.nan) for t in kept(groups)]
    targets: Numbers | None = None
    parts: dict[str, Numbers] = {}
    for name, credit in named(credits):
        advantages = checked(credit, groups, probe or Probe()).times(credit.weight)
        parts[name] = advantages.values
        for total, part in zip(totals, advantages.values, strict=True):
            scored = ~np.isnan(part)
            total[scored] = np.nan_to_num(total[scored]) + part[scored]
        targets = advantages.targets if targets is None else targets
    return StepAdvantages(totals, targets, parts)


def checked(credit: Credit, groups: Sequence[Group], probe: Probe) -> Advantages:
    """Return what a credit says of a step: one array per kept trajectory, shape [sampled tokens], finite or NaN.

    Raises `ComponentError`, which names the credit and the first trajectory of which it says something else.
    """
    # A list of its own: whoever sorts or empties what he is given changes no other's.
    given: Any = credit.advantages(list(groups), probe)
    if not isinstance(given, Advantages):
        raise ComponentError(
            f"credit {credit.type}: got {short(given)}, expected `Advantages(values)`, one array per kept trajectory",
            credit,
        )
    if given.targets is None and "critic" in credit.needs:
        raise ComponentError(
            f"credit {credit.type}: got no targets for the critic that it needs, expected some", credit
        )
    if given.targets is not None and "critic" not in credit.needs:
        raise ComponentError(
            f"credit {credit.type}: got targets for a critic that it does not need, expected None", credit
        )
    try:
        values = _arrays(given.values, groups, f"credit {credit.type}")
        targets = None if given.targets is None else _arrays(given.targets, groups, f"credit {credit.type}, targets")
    except ComponentError as error:
        error.component = credit
        raise
    return Advantages(values, targets)


def _arrays(given: Any, groups: Sequence[Group], where: str) -> Numbers:
    trajectories = kept(groups)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != len(trajectories):
        raise ComponentError(
            f"{where}: got {short(given)}, expected a list of {len(trajectories)} arrays, one per kept trajectory"
        )
    pairs = zip(trajectories, given, strict=True)
    return [_array(part, t, f"{where}: trajectory {i}") for i, (t, part) in enumerate(pairs)]


def _array(part: Any, trajectory: Trajectory, where: str) -> NDArray[np.float64]:
    where = f"{where} (question {trajectory.question.id!r})"
    try:
        array = np.asarray(part)
        if array.dtype.kind not in "biuf":
            # A conversion would make numbers of texts, and NaN, which is "not credited", of None.
            raise TypeError(f"{array.dtype} is no kind of number")
        array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # such as of a tensor with a gradient
        raise ComponentError(f"{where}: got {short(part)}, expected an array of numbers") from error
    if array.shape != (trajectory.sampled,):
        raise ComponentError(
            f"{where}: got an array of shape {array.shape}, expected one number for each of its "
            f"{trajectory.sampled} sampled tokens; `per_turn` and `whole` make such arrays"
        )
    if (far := np.abs(array) > LARGEST).any():
        at = int(np.flatnonzero(far)[0])
        raise ComponentError(
            f"{where}: got {array[at]} at its sampled token {at}, expected finite numbers of at most {LARGEST:g}, "
            "or NaN where nothing is credited"
        )
    return array

"""What a credit has to return, checked by all who ask it: training, `sdsearch fidelity` and `sdsearch.testing`.

An array that is a token short, or has a number for each turn, would still be ranked, or shift every later token.
"""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as short
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdsearch.errors import ComponentError
from sdsearch.objective import Credit
from sdsearch.probe import Probe
from sdsearch.trajectory import Group, Trajectory


def checked(credit: Credit, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
    """Return what a credit says of a step: one array per kept trajectory, shape [sampled tokens], finite or NaN.

    Raises `ComponentError`, which names the credit and the first trajectory of which it says something else.
    """
    found: Any = credit.credits(groups, probe)
    kept = [t for g in groups for t in g.kept]
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(kept):
        raise ComponentError(
            f"credit {credit.type}: got {short(found)}, expected a list of {len(kept)} arrays, one per kept trajectory"
        )
    pairs = zip(kept, found, strict=True)
    return [_array(part, t, f"credit {credit.type}: trajectory {i}") for i, (t, part) in enumerate(pairs)]


def _array(part: Any, trajectory: Trajectory, where: str) -> NDArray[np.float64]:
    where = f"{where} (question {trajectory.question.id!r})"
    try:
        array = np.asarray(part, np.float64)
    except (TypeError, ValueError) as error:
        raise ComponentError(f"{where}: got {short(part)}, expected an array of numbers") from error
    if array.shape != (trajectory.sampled,):
        raise ComponentError(
            f"{where}: got an array of shape {array.shape}, expected one number for each of its "
            f"{trajectory.sampled} sampled tokens; `per_turn` and `whole` make such arrays"
        )
    if np.isinf(array).any():
        at = int(np.flatnonzero(np.isinf(array))[0])
        raise ComponentError(
            f"{where}: got {array[at]} at its sampled token {at}, expected finite numbers, or NaN where "
            "nothing is credited"
        )
    return array

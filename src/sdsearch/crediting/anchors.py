"""Where attempts at a question meet: what each turn was shown, and how turns that were shown the same compare."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.crediting.returns import discounted
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.trajectory import Trajectory


def anchors(trajectory: Trajectory) -> list[tuple[str, ...]]:
    """Return what was shown before each turn: nothing but the question, the passages of a search, or a notice."""
    shown = [t.hits if t.kind == "search" else ("", "invalid") for t in trajectory.turns[:-1]]
    return [("", "question"), *(hits or ("", "nothing") for hits in shown)][: len(trajectory.turns)]


def returns(trajectory: Trajectory, gamma: float) -> NDArray[np.float64]:
    """Return the discounted reward of each turn, [turns]."""
    return discounted([0.0] * (len(trajectory.turns) - 1) + [trajectory.reward] * bool(trajectory.turns), gamma)


def compared(keys: Sequence[Hashable], values: Sequence[float], scale: GroupMean) -> list[float]:
    """Return each number's advantage among those with the same key; 0 for one that is alone."""
    alike: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        alike.setdefault(key, []).append(i)
    found = [0.0] * len(keys)
    for members in alike.values():
        for i, a in zip(members, scale.advantages([values[i] for i in members]), strict=True):
            found[i] = a if len(members) > 1 else 0.0
    return found

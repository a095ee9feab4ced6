"""What a number is compared with: the mean of its group, or of the turns that stood in the same place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdsearch.core.trajectory import Trajectory
from sdsearch.crediting.per_turn import discounted

Scale = Literal["std", "none"]
Deviation = Literal["std", "population", "none"]
"""What advantages are divided by: the unbiased deviation, that of the numbers themselves, or nothing."""


def group_advantages(rewards: Sequence[float], scale: Deviation = "std", eps: float = 1e-6) -> list[float]:
    """Return (reward - mean) / (deviation + eps), without the division for `scale` "none".

    Equal rewards give 0; one alone keeps its value. (GRPO, 2402.03300, section 4.1; deviation and eps are verl's.)
    """
    mean, std = (np.mean(rewards), np.std(rewards, ddof=int(scale == "std"))) if len(rewards) > 1 else (0.0, 1.0)
    if len(rewards) > 1 and min(rewards) == max(rewards):
        return [0.0] * len(rewards)  # rounding of the mean would otherwise be divided by eps
    size = std + eps if scale != "none" else 1.0
    return [float((r - mean) / size) for r in rewards]


def anchors(trajectory: Trajectory) -> list[tuple[str, ...]]:
    """Return what was shown before each turn: nothing but the question, the passages of a search, or a notice."""
    shown = [t.hits if t.kind == "search" else ("", "invalid") for t in trajectory.turns[:-1]]
    return [("", "question"), *(hits or ("", "nothing") for hits in shown)][: len(trajectory.turns)]


def returns(trajectory: Trajectory, gamma: float) -> NDArray[np.float64]:
    """Return the discounted reward of each turn, [turns]."""
    return discounted([0.0] * (len(trajectory.turns) - 1) + [trajectory.reward] * bool(trajectory.turns), gamma)


def compared(keys: Sequence[Hashable], values: Sequence[float], scale: Deviation) -> list[float]:
    """Return each number's advantage among those with the same key; 0 for one that is alone."""
    places: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    advantages = [0.0] * len(keys)
    for alike in places.values():
        for i, advantage in zip(alike, group_advantages([values[i] for i in alike], scale), strict=True):
            advantages[i] = advantage if len(alike) > 1 else 0.0
    return advantages

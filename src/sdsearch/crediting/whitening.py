"""Credits of a whole step on one scale: mean 0 and deviation 1 over every credited token, in all processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdsearch.probe import Probe


def whitened(parts: Sequence[NDArray[np.float64]], probe: Probe, eps: float = 1e-8) -> list[NDArray[np.float64]]:
    """Return (credit - mean) / (unbiased deviation + eps), array for array.

    NaN stays NaN and counts for nothing; where all numbers are the same there is no signal: zeros. Every process has to
    call this, one without trajectories too.
    """
    every = np.concatenate([np.empty(0), *(v for values in probe.gather(list(parts)) for v in values)])
    known = every[~np.isnan(every)]
    if len(known) < 2 or known.min() == known.max():
        return [part * 0.0 for part in parts]  # rounding of the mean would otherwise be divided by eps
    mean, std = known.mean(), known.std(ddof=1)
    return [(part - mean) / (std + eps) for part in parts]

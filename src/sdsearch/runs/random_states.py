"""The random states that a process shares with all its libraries: those of Python, NumPy and torch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class RandomStates:
    """Whatever draws without a seed of its own, such as a component from elsewhere, draws from these."""

    def __init__(self, device: torch.device) -> None:
        """Take the device whose generator counts too."""
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        """Return the states."""
        kind, keys, *rest = np.random.get_state(legacy=True)
        states = {
            "python": random.getstate(),
            "numpy": [kind, np.asarray(keys).tolist(), *rest],
            "torch": torch.get_rng_state(),
        }
        return states if self.device.type == "cpu" else {**states, "device": self._module.get_rng_state(*self._which)}

    def load_state_dict(self, state: Any) -> None:
        """Throw on as the dice were when the state was taken."""
        random.setstate(state["python"])
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if "device" in state and self.device.type != "cpu":
            self._module.set_rng_state(state["device"], *self._which)

    @property
    def _module(self) -> Any:
        return torch.get_device_module(self.device)

    @property
    def _which(self) -> tuple[torch.device, ...]:
        # Metal has one device, and its functions take none.
        return () if self.device.type == "mps" else (self.device,)

"""The space of all texts: Gymnasium's own `Text` needs a finite alphabet and a greatest length."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Space

LETTERS = "abcdefghijklmnopqrstuvwxyz <>/"


class AnyText(Space[str]):
    """Every string, the empty one included. Samples are short, so that random play is quick."""

    def __init__(self, seed: int | None = None) -> None:
        """Seed the sampling."""
        super().__init__(dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """Return up to 32 random characters. There is nothing to mask or to weigh."""
        size = self.np_random.integers(33)
        return "".join(LETTERS[i] for i in self.np_random.integers(len(LETTERS), size=size))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText)

    def __hash__(self) -> int:
        return hash(AnyText)

    def __repr__(self) -> str:
        return "AnyText()"

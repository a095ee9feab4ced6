"""Question answering by search as Gymnasium knows vector environments: many episodes at once, one retrieval a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Tuple
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from sdsearch.envs.any_text import AnyText
from sdsearch.envs.episode import Episode
from sdsearch.envs.game import NOBODY, Game, allowed, report

Flags = NDArray[np.bool_]


class SearchVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """Many episodes at once, with one retrieval batch a turn; see `SearchEnv` for the texts, `Game` for the settings.

    There is no automatic reset: an episode that has ended ignores further actions (its observation is "", its reward 0)
    until `reset` begins another one, everywhere or where `options["reset_mask"]` is true. `reset` takes the questions
    from `options["questions"]`, one per episode, or draws them. `infos` are filled in where an action was taken.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        """Take the number of episodes and the settings of `Game`."""
        if num_envs < 1:
            raise ValueError(f"got num_envs={num_envs}, expected at least 1")
        self.game = Game(**settings)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = AnyText(), AnyText()
        self.observation_space = Tuple([AnyText() for _ in range(num_envs)])
        self.action_space = Tuple([AnyText() for _ in range(num_envs)])
        self.episodes: list[Episode] = []
        self._owed = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin new episodes and return their prompts (and, where none was begun, what was shown last).

        With a list of seeds each episode draws its question from its own, as a `SearchEnv` would.
        """
        seeds = seed if isinstance(seed, Sequence) else None
        super().reset(seed=None if isinstance(seed, Sequence) else seed)
        given = allowed(options, "questions", "reset_mask")
        mask = self._mask(given.get("reset_mask"))
        questions = given.get("questions")
        if questions is None:
            dice = [self.np_random] * self.num_envs if seeds is None else [seeding.np_random(s)[0] for s in seeds]
            questions = [self.game.draw(d) for d in dice]
        if len(questions) != self.num_envs:
            raise ValueError(f"got {len(questions)} questions, expected one for each of {self.num_envs} episodes")
        self.episodes = [self.game.begin(q) if mask[i] else self.episodes[i] for i, q in enumerate(questions)]
        self.game.first([episode for i, episode in enumerate(self.episodes) if mask[i]])
        self._owed |= mask
        return self._shown(), self._infos(mask)

    def step(self, actions: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Take one action in each episode that goes on. The reward of an episode is paid once, at its end."""
        if not self.episodes:
            raise ResetNeeded("no episode has begun: call `reset` first")
        if isinstance(actions, str | bytes) or not hasattr(actions, "__len__"):
            raise InvalidAction(f"got the actions {actions!r:.80}, expected {self.num_envs} texts, one an episode")
        if len(actions) != self.num_envs:
            raise ValueError(f"got {len(actions)} actions, expected one for each of {self.num_envs} episodes")
        live = [i for i, e in enumerate(self.episodes) if e.stop_reason is None]
        self.game.play([self.episodes[i] for i in live], [actions[i] for i in live])
        paid = self._owed.copy()
        over = np.array([e.stop_reason is not None for e in self.episodes])
        rewards = np.array([e.reward for e in self.episodes]) * paid
        self._owed &= ~over
        terminated = np.array([e.terminated for e in self.episodes])
        truncated = np.array([e.truncated for e in self.episodes])
        return self._shown(), rewards, terminated, truncated, self._infos(paid)

    def end(self, row: int, reason: str) -> None:
        """End an episode from outside, such as for "context_full"; the next `step` pays its reward."""
        self.episodes[row].close(reason)

    def save(self, row: int) -> dict[str, Any]:
        """Return all that `restore` needs to go on with an episode; `paid` when its reward was."""
        state = self.episodes[row].state()
        return state if self._owed[row] else {**state, "paid": True}

    def state(self) -> dict[str, Any]:
        """Return all that `restore_all` needs, ready for JSON."""
        return {
            "episodes": [e.state() for e in self.episodes],
            "owed": self._owed.tolist(),
            "dice": self.np_random.bit_generator.state,
        }

    def restore_all(self, state: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Go back to a state of all episodes and return what the agents were shown last."""
        if len(state["episodes"]) != self.num_envs:
            raise ValueError(f"got the state of {len(state['episodes'])} episodes, expected {self.num_envs}")
        self.episodes = [self.game.begin(NOBODY) for _ in range(self.num_envs)]
        for episode, saved in zip(self.episodes, state["episodes"], strict=True):
            episode.restore(saved)
        self._owed = np.array(state["owed"], dtype=np.bool_)
        self.np_random.bit_generator.state = state["dice"]
        return self._shown(), self._infos(np.ones(self.num_envs, dtype=np.bool_))

    def restore(self, row: int, state: dict[str, Any]) -> str:
        """Put one episode at a state that `save` returned, here or elsewhere; return what it was shown last.

        Raises `ResetNeeded` before the first `reset`.
        """
        if not self.episodes:
            raise ResetNeeded("no episode has begun: call `reset` first")
        episode = self.episodes[row] = self.game.begin(NOBODY)
        episode.restore(state)
        self._owed[row] = not state.get("paid", False)
        return episode.shown

    def _shown(self) -> tuple[str, ...]:
        return tuple(e.shown for e in self.episodes)

    def _infos(self, mask: Flags) -> dict[str, Any]:
        # As Gymnasium's own `_add_info` does it, but faster: a column for each key, and where it is filled in.
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(mask):
            for key, value in report(self.episodes[i]).items():
                if key not in infos:
                    infos[key] = np.full(self.num_envs, None, object)
                    infos[f"_{key}"] = np.zeros(self.num_envs, np.bool_)
                infos[key][i], infos[f"_{key}"][i] = value, True
        return infos

    def _mask(self, mask: Any) -> Flags:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"got reset_mask={mask!r}, expected {self.num_envs} booleans in an array")
        if not self.episodes and not mask.all():
            raise ResetNeeded("no episode has begun: the first `reset` has no mask")
        return mask

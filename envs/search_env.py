"""Question answering by search as Gymnasium knows environments: one episode at a time; text in, text out."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
from gymnasium.error import ResetNeeded

from sdsearch.envs.any_text import AnyText
from sdsearch.envs.episode import Episode
from sdsearch.envs.game import NOBODY, Game, allowed, report


class SearchEnv(gymnasium.Env[str, str]):
    """One episode at a time. An action is all that the agent wrote in one turn; see `Game` for the settings.

    The first observation is the prompt, later ones are what to append, and after the end there is nothing ("").
    `terminated` means that the agent answered (or, with `on_invalid="end"`, failed to act); `truncated` that the turns
    were used up or the retriever could not be reached. `info["stop_reason"]` tells them apart.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, render_mode: Literal["ansi"] | None = None, **settings: Any) -> None:
        """Take the settings of `Game`; `render_mode="ansi"` lets `render` return the transcript."""
        self.render_mode, self.game = render_mode, Game(**settings)
        self.observation_space, self.action_space = AnyText(), AnyText()
        self._episode: Episode | None = None
        self._transcript: list[str] = []

    @property
    def episode(self) -> Episode:
        """The current episode. Raises `ResetNeeded` when there is none."""
        if self._episode is None:
            raise ResetNeeded("no episode has begun: call `reset` first")
        return self._episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode about `options["question"]`, or else about a random question."""
        super().reset(seed=seed)
        asked = allowed(options, "question").get("question")
        self._episode = self.game.begin(asked or self.game.draw(self.np_random))
        self.game.first([self._episode])
        self._transcript = [self._episode.shown]
        return self._episode.shown, report(self._episode)

    def render(self) -> str:
        """Return all that was shown and done in the episode so far. Raises `ResetNeeded` before the first `reset`."""
        stop = self.episode.stop_reason
        return "".join(self._transcript) + (f"\n[{stop}, reward {self.episode.reward:g}]\n" if stop else "")

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action. Raises `ResetNeeded` after the end."""
        episode = self.episode
        if episode.stop_reason is not None:
            raise ResetNeeded(f"the episode has ended ({episode.stop_reason}): call `reset` first")
        self.game.play([episode], [action])
        self._transcript += [action, episode.shown]
        return episode.shown, episode.reward, episode.terminated, episode.truncated, report(episode)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, ready for JSON."""
        return {"episode": self.episode.state(), "dice": self.np_random.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Go back to a state and return what the agent was shown last."""
        self._episode = self.game.begin(NOBODY)
        self._episode.restore(state["episode"])
        self.np_random.bit_generator.state = state["dice"]
        self._transcript = [self._episode.shown]
        return self._episode.shown, report(self._episode)

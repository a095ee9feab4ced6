"""Continuations of states, played in lots and kept lot by lot: what was interrupted goes on where it stopped.

All states of forty questions, played on sixteen times each, are tens of thousands of episodes: they take minutes to
hours, and their contexts more memory than a machine has, if all are held at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sdsearch.core.trajectory import Fork, Group, Trajectory
from sdsearch.errors import DataError
from sdsearch.rollout.collect import EpisodeCollector, continue_from, lots
from sdsearch.terminal.progress import Bars

NAME = "fidelity.partial"
"""The file in the folder of a run; it is there while continuations are played."""


class Continuations:
    """Plays states on with common random numbers, and writes down how each continuation ended.

    The numbers of a state depend on what was seen before it, on k, on the seed and on the weights: `weights` names
    them. A line of another one, or a damaged one, is not heeded, and what it stood for is played again.
    """

    def __init__(self, play: EpisodeCollector, k: int, seed: int, at_once: int, file: Path, weights: str) -> None:
        """Take `at_once` episodes at once, one state's at least."""
        self.collector, self.k, self.seed, self.at_once = play, k, seed, at_once
        self.file, self.weights = file, weights
        self.played: list[Group] = []
        """What was played, or read back: how episodes ended, without what was done in them."""

    def __call__(self, forks: Sequence[Fork], k: int) -> list[Group]:
        """See `sdsearch.rollout.collect.continue_from`."""
        ended, keys = self.kept(), [self.key(fork) for fork in forks]
        missing = [i for i, key in enumerate(keys) if key not in ended]
        with Bars(Console(stderr=True), beat=10) as bars:
            task = bars.task("continuations", len(forks) * k)
            task.advance((len(forks) - len(missing)) * k)
            for _, some in lots(missing, k, self.at_once):
                try:
                    groups = self.play([forks[i] for i in some])
                except KeyboardInterrupt as error:
                    raise KeyboardInterrupt("interrupted; the same command goes on, what was played is kept") from error
                new = {
                    keys[i]: [[t.reward, t.stop_reason, t.outage] for t in group.trajectories]
                    for i, group in zip(some, groups, strict=True)
                }
                self.keep(new)
                ended |= new
                task.advance(len(some) * k)
        self.played = [stubs(fork, ended[key]) for fork, key in zip(forks, keys, strict=True)]
        return self.played

    def play(self, forks: Sequence[Fork]) -> list[Group]:
        """Play some states on."""
        play = self.collector
        return continue_from(play.env_factory, play.session, forks, self.k, self.seed, paired=True)

    def key(self, fork: Fork) -> str:
        """Name a state, and all that its continuations depend on."""
        before = [(s.role, s.tokens or s.text) for s in fork.trajectory.before(fork.turn)]
        about = [self.weights, self.seed, self.k, fork.trajectory.question.id, before]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def kept(self) -> dict[str, list[Any]]:
        """Read back what was written down."""
        ended = {}
        for text in self.file.read_bytes().splitlines() if self.file.is_file() else ():
            head, _, rest = text.partition(b" ")
            if hashlib.sha256(rest).hexdigest().encode() == head:
                key, episodes = json.loads(rest)
                ended[key] = episodes
        return ended

    def keep(self, new: Mapping[str, Sequence[Any]]) -> None:
        """Write down how some ended. Raises `DataError` where nothing can be written."""
        try:
            with self.file.open("a") as file:
                file.writelines(line(key, episodes) + "\n" for key, episodes in new.items())
        except OSError as error:
            raise DataError(f"{self.file} cannot be written: {error}; the results go into this folder, too") from error

    def done(self) -> None:
        """Remove the file: the results stand elsewhere."""
        self.file.unlink(missing_ok=True)


def line(key: str, episodes: Sequence[Any]) -> str:
    """Return a line of the file: a hash, and what it is of."""
    rest = json.dumps([key, episodes])
    return f"{hashlib.sha256(rest.encode()).hexdigest()} {rest}"


def stubs(fork: Fork, episodes: Sequence[Any]) -> Group:
    """Return episodes of which only the ends are known."""
    question = fork.trajectory.question
    ends = (Trajectory(question, (), (), stop, reward, {}, outage) for reward, stop, outage in episodes)
    return Group(question, tuple(ends))

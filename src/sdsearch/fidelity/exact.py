"""What the policy of the small search problem knows: values that are exact, and a teacher with ideal hindsight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from zlib import crc32

import numpy as np

from sdsearch.crediting.returns import kept
from sdsearch.fidelity.mdp import SearchProblem
from sdsearch.objective import Hints, Teacher, told
from sdsearch.probe import Numbers, Probe
from sdsearch.rollout import Fork
from sdsearch.trajectory import Group


class ExactProbe(Probe):
    """Answers for the policy of the table what the weights of a run answer: values are exact."""

    def __init__(self, problem: SearchProblem, seed: int = 0) -> None:
        """Draw continuations from `seed`: those with the same number from the same stream, whatever the state."""
        self.problem, self.seed = problem, seed

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """Return log pi(a|s), whoever teaches; and with a hint, whatever it says, of the policy that will be right.

        That one is pi(a|s, right) = pi(a|s) Q(s, a) / V(s), by Bayes: ideal hindsight. A probability of 0 is 1e-6.
        """
        found = []
        for i, t in enumerate(kept(groups)):
            known = self.problem.visited(t)
            own = np.array([a.logprobs[0] for a in t.actions], np.float64)
            if hints is not None:
                share = [self.problem.worth(h, a.tokens[0] - 1) for h, a in zip(known, t.actions, strict=False)]
                seen = np.log(np.maximum(np.exp(own) * share / self.problem.values[known[:-1]], 1e-6))
                silent = [told(hints[i], turn) is None for turn in range(len(own))]
                own = np.where(silent, np.nan, seen)
            found.append(own)
        return found

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """Return the log-probability of a policy that knows some links and guesses the others, [turns + 1, 1]."""
        missing = [self.problem.hops - np.array(self.problem.visited(t), np.float64) for t in kept(groups)]
        found = [m * np.log(self.problem.guess) for m in missing]
        ended = [t.answer is not None for t in kept(groups)]
        return [np.append(f[:-1], np.nan if e else f[-1])[:, None] for f, e in zip(found, ended, strict=True)]

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play on by the table; greedy: raises `ValueError`, the likeliest action may never answer."""
        if greedy:
            raise ValueError("got greedy continuations, expected sampled ones: the likeliest action may never answer")
        found = []
        for (trajectory, turn), question in ((f, f.trajectory.question) for f in forks):
            past = [a.tokens[0] - 1 for a in trajectory.actions[:turn]]
            streams = [self._numbers(crc32(question.id.encode()), i) for i in range(k)]
            later = tuple(self.problem.play(question, past, islice(s, turn, None)) for s in streams)
            found.append(Group(question, later))
        return found

    def values(self, groups: Sequence[Group]) -> Numbers:
        """Return V of the state before each action, and 0 after the answer, [turns + 1]."""
        return [np.append(self.problem.values[self.problem.visited(t)[:-1]], 0.0) for t in kept(groups)]

    def learn(self, groups: Sequence[Group], targets: Numbers) -> None:
        """Learn nothing: the values are right."""

    def _numbers(self, question: int, continuation: int) -> Iterator[float]:
        return iter(np.random.default_rng([self.seed, question, continuation]).random, None)

"""A small search problem whose true advantages are known exactly: the measure of estimators, and of credits.

An agent that knows h of the `hops` links of a chain does one of four things, by a table of probabilities. `right`
finds the next link, `idle` finds nothing of use, `harm` misleads it, so that it loses a link, `answer` ends the episode
and is right iff all links are known. Nothing else ends it, so that a state is worth V = P V + r: one linear system.
Idle searches have an advantage of exactly 0, as a turn that does not matter must.

In its `fatal` form a harmful search ends the episode there and then, without an answer: how long an episode lasts is
then decided by searches too. The exact policy gradient is that of the logits of the table (Sutton et al., 1999).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice, pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher, hint_at
from sdsearch.core.question import Hop, Question
from sdsearch.core.trajectory import Fork, Group, Segment, Span, Trajectory, Turn, kept

ACTIONS = ("right", "idle", "harm", "answer")
"""A token is an index into this, plus one."""
NAMES = ("Orly", "Paris", "France", "Europe", "Earth")
"""The links of the chain: question, passages and answer are made of them."""
POLICY = ((0.45, 0.25, 0.1, 0.2), (0.4, 0.2, 0.25, 0.15), (0.4, 0.15, 0.25, 0.2), (0.1, 0.25, 0.25, 0.4))


@dataclass(frozen=True)
class SearchProblem:
    """The problem under one policy, and its values in closed form."""

    policy: tuple[tuple[float, ...], ...] = POLICY
    """For each number of links that are known, from 0 to all of them, the probabilities of `ACTIONS`."""
    guess: float = 0.3
    """How likely a link that is not known is guessed: a model of what a policy thinks of the accepted answer."""
    fatal: bool = False
    """A harmful search ends the episode early, unanswered."""

    def __post_init__(self) -> None:
        table = np.array(self.policy)
        if not 2 <= len(table) <= len(NAMES) or table.shape[1:] != (4,) or (table < 0).any():
            raise ValueError(f"got a policy of shape {table.shape}, expected [2 to {len(NAMES)}, 4] probabilities")
        if not np.allclose(table.sum(1), 1) or not (table[:, 3] > 0).all():
            raise ValueError(f"got the policy {self.policy}, expected rows that add up to 1 and answer now and then")

    @property
    def hops(self) -> int:
        """The links that an answer takes."""
        return len(self.policy) - 1

    def question(self, index: int) -> Question:
        """Return one of arbitrarily many questions, which differ by their id."""
        links = NAMES[: self.hops + 1]
        hops = tuple(Hop(a, "in", b, f"{a} in {b}") for a, b in pairwise(links))
        return Question(f"q{index}", f"Where is {links[0]}?", (links[-1],), tuple(h.passage for h in hops), hops)

    def ends(self, action: int) -> bool:
        """Say whether nothing can follow an action."""
        return action == 3 or (self.fatal and action == 2)

    def after(self, known: int, action: int) -> int:
        """Return how many links are known after an action; what ends the episode changes nothing."""
        return known if self.ends(action) else min(max(known + (1, 0, -1)[action], 0), self.hops)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The probability of a right answer with each number of known links, [hops + 1]."""
        reward = np.append(np.zeros(self.hops), self.policy[-1][3])
        return np.asarray(np.linalg.solve(np.eye(self.hops + 1) - self.moves, reward), np.float64)

    @cached_property
    def moves(self) -> NDArray[np.float64]:
        """The probability of each state one turn after each, [hops + 1, hops + 1]; what is missing to 1 has ended."""
        moves = np.zeros((self.hops + 1, self.hops + 1))
        for known, row in enumerate(self.policy):
            for action in (a for a in range(4) if not self.ends(a)):
                moves[known, self.after(known, action)] += row[action]
        return moves

    @cached_property
    def visits(self) -> NDArray[np.float64]:
        """How often an episode is expected to take a turn with each number of known links, [hops + 1]."""
        start = np.eye(self.hops + 1)[0]
        return np.asarray(np.linalg.solve(np.eye(self.hops + 1) - self.moves.T, start), np.float64)

    @cached_property
    def gradient(self) -> NDArray[np.float64]:
        """The gradient of the expected reward by the logits of `policy`: visits * pi * A, [hops + 1, 4]."""
        worth = np.array([[self.worth(known, a) for a in range(4)] for known in range(self.hops + 1)])
        return np.asarray(self.visits[:, None] * np.array(self.policy) * (worth - self.values[:, None]), np.float64)

    def worth(self, known: int, action: int) -> float:
        """Return Q: the probability of a right answer once an action is taken."""
        if self.ends(action):
            return float(action == 3 and known == self.hops)
        return float(self.values[self.after(known, action)])

    def visited(self, trajectory: Trajectory) -> list[int]:
        """Return how many links were known before each turn, and in the end."""
        counts = [0]
        for segment in trajectory.actions:
            counts.append(self.after(counts[-1], segment.tokens[0] - 1))
        return counts

    def advantages(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Return the true advantage of each turn, [turns]."""
        known = zip(self.visited(trajectory), trajectory.actions, strict=False)
        return np.array([self.worth(h, a.tokens[0] - 1) - self.values[h] for h, a in known], np.float64)

    def groups(self, questions: int, size: int, seed: int) -> list[Group]:
        """Play `size` independent episodes of each of some questions."""
        groups = []
        for i in range(questions):
            question, numbers = self.question(i), iter(np.random.default_rng([seed, i]).random, None)
            groups.append(Group(question, tuple(self.play(question, (), numbers) for _ in range(size))))
        return groups

    def play(self, question: Question, past: Sequence[int], numbers: Iterator[float]) -> Trajectory:
        """Go on after some actions to the end; each turn takes one of `numbers`, which lie in [0, 1)."""
        actions, known = list(past), 0
        for action in past:
            known = self.after(known, action)
        while not (actions and self.ends(actions[-1])):
            number, action = next(numbers), 0
            while action < 3 and number >= self.bounds[known][action]:
                action += 1
            actions.append(action)
            known = self.after(known, action)
        return self.recorded(question, actions)

    @cached_property
    def bounds(self) -> list[list[float]]:
        """The probability of each action or one before it, [hops + 1][4]."""
        return [list(accumulate(row)) for row in self.policy]

    def recorded(self, question: Question, actions: Sequence[int]) -> Trajectory:
        """Return the episode of some actions, as an environment would record it."""
        segments, turns, known = [Segment("prompt", f"Question: {question.text}\n", (5,))], [], 0
        for action in actions:
            turn, *both = self.script[known][action]
            turns.append(turn)
            segments += both
            known = self.after(known, action)
        answered = bool(turns) and turns[-1].kind == "answer"
        right = float(answered and known == self.hops)
        metrics = {"exact_match": right, "f1": right}
        return Trajectory(
            question, tuple(segments), tuple(turns), "answered" if answered else "max_turns", right, metrics
        )

    @cached_property
    def script(self) -> list[list[tuple[Turn, Segment] | tuple[Turn, Segment, Segment]]]:
        """How each action is recorded, and what it is shown: [hops + 1][4]."""
        return [[self._scene(known, action) for action in range(4)] for known in range(self.hops + 1)]

    def _scene(self, known: int, action: int) -> tuple[Turn, Segment] | tuple[Turn, Segment, Segment]:
        hop = self.question(0).hops[min(known, self.hops - 1)]
        turn = (
            Turn("search", hop.query, (hop.passage,)),
            Turn("search", f"weather {known}", ("weather",)),
            Turn("search", f"rumour {known}", ("rumour",)),
            Turn("answer", NAMES[known]),
        )[action]
        chance = self.policy[known][action] or 1.0  # of what is never done there is no log-probability
        span = Span.ANSWER if action == 3 else Span.QUERY
        did = Segment("model", turn.text, (action + 1,), (float(np.log(chance)),), (span,))
        if action == 3:
            return turn, did
        shown = (f"{hop.entity} lies in {hop.answer}.", "It is sunny.", "Nobody knows.")[action]
        return turn, did, Segment("observation", shown, (6,))


class ExactProbe(Probe):
    """Answers for the policy of the table what the weights of a run answer: values are exact."""

    def __init__(self, problem: SearchProblem, seed: int = 0) -> None:
        """Draw continuations from `seed`: those with the same number from the same stream, whatever the state."""
        self.problem, self.seed = problem, seed
        self.episodes = 0
        """Continuations that were played: what a credit takes beyond its group's rollouts."""

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """Return log pi(a|s), whoever teaches; and with a hint, whatever it says, of the policy that will be right.

        That one is pi(a|s, right) = pi(a|s) Q(s, a) / V(s), by Bayes: ideal hindsight. A probability of 0 is 1e-6.
        """
        arrays = []
        for i, t in enumerate(kept(groups)):
            known = self.problem.visited(t)
            logprobs = np.array([a.logprobs[0] for a in t.actions], np.float64)
            if hints is not None:
                share = [self.problem.worth(h, a.tokens[0] - 1) for h, a in zip(known, t.actions, strict=False)]
                seen = np.log(np.maximum(np.exp(logprobs) * share / self.problem.values[known[:-1]], 1e-6))
                silent = [hint_at(hints[i], turn) is None for turn in range(len(logprobs))]
                logprobs = np.where(silent, np.nan, seen)
            arrays.append(logprobs)
        return arrays

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """Return the log-probability of a policy that knows some links and guesses the others, [turns + 1, 1]."""
        missing = [self.problem.hops - np.array(self.problem.visited(t), np.float64) for t in kept(groups)]
        logprobs = [m * np.log(self.problem.guess) for m in missing]
        ended = [t.answer is not None for t in kept(groups)]
        return [np.append(f[:-1], np.nan if e else f[-1])[:, None] for f, e in zip(logprobs, ended, strict=True)]

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play on by the table; greedy: raises `ValueError`, the likeliest action may never answer."""
        if greedy:
            raise ValueError("got greedy continuations, expected sampled ones: the likeliest action may never answer")
        groups = []
        for (trajectory, turn), question in ((f, f.trajectory.question) for f in forks):
            past = [a.tokens[0] - 1 for a in trajectory.actions[:turn]]
            streams = [self._numbers(crc32(question.id.encode()), i) for i in range(k)]
            later = tuple(self.problem.play(question, past, islice(s, turn, None)) for s in streams)
            groups.append(Group(question, later))
        self.episodes += len(forks) * k
        return groups

    def values(self, groups: Sequence[Group]) -> Numbers:
        """Return V of the state before each action, and 0 after the answer, [turns + 1]."""
        return [np.append(self.problem.values[self.problem.visited(t)[:-1]], 0.0) for t in kept(groups)]

    def _numbers(self, question: int, continuation: int) -> Iterator[float]:
        return iter(np.random.default_rng([self.seed, question, continuation]).random, None)

"""Ask the weights of a run: what they say of recorded tokens, and how else an episode could end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.environment import Grammar
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.trajectory import Fork, Group, Span, Trajectory, kept
from sdsearch.core.usage import Clock
from sdsearch.errors import ContextError
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import Teachers, logprobs
from sdsearch.policy.batching import Row, row_batches
from sdsearch.policy.critic import Critic
from sdsearch.policy.logprobs import pick
from sdsearch.rollout.collect import EpisodeCollector


class ModelProbe(Probe):
    """Asks the weights of a run; continuations are played in its environment and counted."""

    def __init__(
        self,
        collector: EpisodeCollector,
        grammar: Grammar,
        weights: Teachers,
        budget: int,
        critic: Critic | None = None,
        processes: Processes | None = None,
        first: int = 0,
    ) -> None:
        """Take a step's collector, its protocol and weights, tokens per micro-batch, and all processes.

        `first` is the step with which its phase began, from which a credit counts.
        """
        self.collector, self.grammar, self.weights, self.budget = collector, grammar, weights, budget
        self.critic, self.processes = critic, processes
        self.step, self.seed = collector.step - first, collector.seed

    @property
    def clock(self) -> Clock:
        """Where the time goes."""
        return self.collector.clock

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """See `Probe`. Raises `ContextError` when a hint and its episode do not fit the model."""
        with self.clock.timing("score"):
            return logprobs(self.weights, teacher, self.budget, groups, hints)

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """See `Probe`. Each answer is tokenised once, as the protocol writes it, and put after the recorded tokens.

        Raises `ContextError` when an episode and the answer do not fit the model.
        """
        policy, grammar = self.weights.policies[teacher], self.grammar
        rows: list[Row] = []
        tokens: list[int] = []
        shapes: list[tuple[int, int]] = []
        for trajectory in kept(groups):
            boundaries = _boundaries(trajectory)
            shapes.append((len(boundaries), len(trajectory.question.answers)))
            for seen in boundaries:
                for answer in trajectory.question.answers:
                    written = policy.codec.encode(grammar.write("answer", answer))
                    inside = [i for i, s in enumerate(policy.codec.spans(written, grammar)) if s == Span.ANSWER]
                    prompt = trajectory.segments[0].tokens
                    if (need := len(prompt) + len(seen) + len(written)) > policy.positions:
                        raise ContextError(
                            f"question {trajectory.question.id}: episode and answer take {need} tokens and the "
                            f"model has {policy.positions} positions: lower sampling.context, or use another model"
                        )
                    rows.append((prompt, (*seen, *written), [len(seen) + i for i in inside]))
                    tokens += [written[i] for i in inside]
        logprobs = torch.empty(len(tokens), dtype=torch.float64)
        done = 0
        with self.clock.timing("score"), self.weights.reading(teacher):
            for batch in row_batches(rows, self.budget):
                logits = policy.logits(*zip(*batch, strict=True))
                chosen = torch.tensor(tokens[done : done + len(logits)], device=logits.device)
                logprobs[done : done + len(logits)] = pick(logits, chosen).cpu().double()
                done += len(logits)
        means = np.array([float(p.mean()) for p in torch.split(logprobs, [len(at) for _, _, at in rows])])
        scored, ends = [], np.cumsum([turns * answers for turns, answers in shapes])
        parts = np.split(means, ends[:-1]) if shapes else []
        for trajectory, (turns, answers), cells in zip(kept(groups), shapes, parts, strict=True):
            table = np.full((len(trajectory.actions) + 1, answers), np.nan)
            table[:turns] = cells.reshape(turns, answers)
            scored.append(table)
        return scored

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """See `Probe`."""
        return self.collector.continue_from(forks, k, greedy)

    def values(self, groups: Sequence[Group]) -> Numbers:
        """See `Probe`."""
        with self.clock.timing("score"):
            return self._critic().values(groups, self.budget)

    def _critic(self) -> Critic:
        if self.critic is None:
            raise ValueError("got a question for values without a critic, expected a credit that says it `needs` one")
        return self.critic

    def gather(self, value: Any) -> list[Any]:
        """See `Probe`."""
        return self.processes.gather(value) if self.processes else [value]


def _boundaries(trajectory: Trajectory) -> list[tuple[int, ...]]:
    """Return the tokens after the prompt that had been seen before each turn, and after the last unless it answered."""
    ends = [*range(1, len(trajectory.segments), 2), *([] if trajectory.answer is not None else [None])]
    return [tuple(t for s in trajectory.segments[1:end] for t in s.tokens) for end in ends]

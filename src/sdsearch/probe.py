"""What a credit may ask beyond rollouts and rewards: what weights say of recorded tokens, and how else it could end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdsearch.cost import Clock
from sdsearch.errors import ContextError
from sdsearch.objective import Hints, Teacher, told
from sdsearch.rollout import Fork, Play
from sdsearch.trajectory import Group, Span, Trajectory

if TYPE_CHECKING:
    from sdsearch.model.critic import Critic
    from sdsearch.model.score import Teachers
    from sdsearch.types import Grammar

Numbers = list[NDArray[np.float64]]
Row = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""What is scored of one sequence: its prompt, the rest, and indices into the rest."""


class Probe:
    """Answers nothing: what credits are given where only rollouts and rewards are at hand."""

    step: int = 0
    """The step, counted from 0."""
    seed: int = 0
    """Of this step."""

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """Return the log-probability of each sampled token of each kept trajectory, shape [sampled].

        `hints`, one per kept trajectory, stand in front of the prompts; where one is None the numbers are NaN.
        """
        raise self._silent("log-probabilities")

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """Return how likely the accepted answers are at each turn of each kept trajectory, [turns + 1, answers].

        Row t is of an answer given in place of turn t, the last row of one given after all turns, which is NaN where
        the last turn was an answer. A number is the mean log-probability of an answer's tokens, tags left out.
        """
        raise self._silent("log-probabilities of answers")

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Play each fork to its end `k` times; see `sdsearch.rollout.continue_from`."""
        raise self._silent("continuations")

    def values(self, groups: Sequence[Group]) -> Numbers:
        """Return the critic's value of the state before each sampled token, and of the last one: [sampled + 1]."""
        raise self._silent("values")

    def learn(self, groups: Sequence[Group], targets: Numbers) -> None:
        """Move the critic's values of the states before the sampled tokens towards targets [sampled]; NaN: none."""
        raise self._silent("a critic")

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has, in their order: for statistics over the whole step."""
        return [value]

    def _silent(self, what: str) -> ValueError:
        return ValueError(f"got a question for {what} where no model answers, expected a training step or a run")


class ModelProbe(Probe):
    """Asks the weights of a run; continuations are played in its environment and counted."""

    def __init__(
        self,
        play: Play,
        grammar: Grammar,
        weights: Teachers,
        budget: int,
        critic: Critic | None = None,
        everyone: Callable[[Any], list[Any]] | None = None,
    ) -> None:
        """Take a step's play, its protocol and weights, tokens per micro-batch, and what gathers over processes."""
        self.play, self.grammar, self.weights, self.budget = play, grammar, weights, budget
        self.critic, self.everyone = critic, everyone
        self.step, self.seed = play.step, play.seed

    @property
    def clock(self) -> Clock:
        """Where the time goes."""
        return self.play.clock

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """See `Probe`. Raises `ContextError` when a hint and its episode do not fit the model."""
        from sdsearch.model.divergence import pick
        from sdsearch.tokens import TokenTable
        from sdsearch.update import batches

        table = TokenTable.build(groups, [np.full(t.sampled, np.nan) for g in groups for t in g.kept])
        rows = torch.ones(len(table), dtype=torch.bool)
        if hints is not None:
            places = zip(table.trajectory.tolist(), table.turn.tolist(), strict=True)
            rows = torch.tensor([told(hints[i], turn) is not None for i, turn in places], dtype=torch.bool)
        table = table.to(self.weights.policies["live"].device)
        found = torch.full((len(table),), torch.nan, dtype=torch.float64)
        wanted = rows.to(table.token.device)
        with self.clock.timing("score"):
            for part in (whole[wanted[whole]] for whole in batches(table, wanted, self.budget)):
                logits = self.weights.score(teacher, table.at(part), hints)
                found[part.cpu()] = pick(logits, table.token[part]).double().cpu()
        return _cut(found, [t.sampled for g in groups for t in g.kept])

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """See `Probe`. Each answer is tokenised once, as the protocol writes it, and put after the recorded tokens.

        Raises `ContextError` when an episode and the answer do not fit the model.
        """
        from sdsearch.model.divergence import pick

        policy, grammar = self.weights.policies[teacher], self.grammar
        rows: list[Row] = []
        tokens: list[int] = []
        shapes: list[tuple[int, int]] = []
        for trajectory in (t for g in groups for t in g.kept):
            shapes.append((len(trajectory.actions) + 1, len(trajectory.question.answers)))
            for seen in _boundaries(trajectory):
                for answer in trajectory.question.answers:
                    written = policy.encode(grammar.write("answer", answer))
                    inside = [i for i, s in enumerate(policy.spans(written, grammar)) if s == Span.ANSWER]
                    prompt = trajectory.segments[0].tokens
                    if (need := len(prompt) + len(seen) + len(written)) > policy.positions:
                        raise ContextError(
                            f"question {trajectory.question.id}: episode and answer take {need} tokens and the "
                            f"model has {policy.positions} positions: lower agent.context, or use another model"
                        )
                    rows.append((prompt, (*seen, *written), [len(seen) + i for i in inside]))
                    tokens += [written[i] for i in inside]
        found = torch.empty(len(tokens), dtype=torch.float64)
        done = 0
        with self.clock.timing("score"), self.weights.reading(teacher):
            for batch in packed(rows, self.budget):
                logits = policy.logits(*zip(*batch, strict=True))
                chosen = torch.tensor(tokens[done : done + len(logits)], device=logits.device)
                found[done : done + len(logits)] = pick(logits, chosen).double().cpu()
                done += len(logits)
        means = [float(p.mean()) for p in torch.split(found, [len(at) for _, _, at in rows])]
        cells = iter(means)
        answered = [t.answer is not None for g in groups for t in g.kept]
        return [
            np.array([[np.nan if last and t == turns - 1 else next(cells) for _ in range(n)] for t in range(turns)])
            for (turns, n), last in zip(shapes, answered, strict=True)
        ]

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """See `Probe`."""
        return self.play.continue_from(forks, k, greedy)

    def values(self, groups: Sequence[Group]) -> Numbers:
        """See `Probe`."""
        with self.clock.timing("score"):
            return self._critic().values(groups, self.budget)

    def learn(self, groups: Sequence[Group], targets: Numbers) -> None:
        """See `Probe`: one step of the critic's own optimiser."""
        with self.clock.timing("train"):
            self._critic().learn(groups, targets, self.budget)

    def _critic(self) -> Critic:
        if self.critic is None:
            raise ValueError("got a question for values without a critic, expected a credit that says it `needs` one")
        return self.critic

    def gather(self, value: Any) -> list[Any]:
        """See `Probe`."""
        return list(self.everyone(value)) if self.everyone else [value]


def _boundaries(trajectory: Trajectory) -> list[tuple[int, ...]]:
    """Return the tokens after the prompt that had been seen before each turn, and after the last unless it answered."""
    ends = [*range(1, len(trajectory.segments), 2), *([] if trajectory.answer is not None else [None])]
    return [tuple(t for s in trajectory.segments[1:end] for t in s.tokens) for end in ends]


def packed(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Cut rows into runs of at most `budget` padded tokens, in order."""
    batch: list[Row] = []
    width = 0
    for row in rows:
        length = len(row[0]) + len(row[1])
        if batch and (len(batch) + 1) * max(width, length) > budget:
            yield batch
            batch, width = [], 0
        batch.append(row)
        width = max(width, length)
    if batch:
        yield batch


def _cut(values: torch.Tensor, lengths: Sequence[int]) -> Numbers:
    return [part.numpy() for part in torch.split(values, list(lengths))] if lengths else []

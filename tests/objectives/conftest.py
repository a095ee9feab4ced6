"""Rows to evaluate terms on, made from nothing but probabilities; episodes to evaluate credits on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdsearch.contracts.loss import LossInput
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.crediting.per_turn import by_turn
from sdsearch.policy.logprobs import pick
from sdsearch.testing import example_trajectory

MakeRows = Callable[..., LossInput]
HERE = Question("q", "Where?", ("here",))


@pytest.fixture
def rows_of() -> MakeRows:
    """Return a builder of rows: the probability of token 0 now, when the step began, for the teacher, for the sampler.

    The vocabulary has two tokens. The sampler's are those when the step began unless they are given.
    """

    def build(
        now: Sequence[float],
        then: Sequence[float] | None = None,
        credit: Sequence[float] | None = None,
        teacher: Sequence[float] | None = None,
        sampler: Sequence[float] | None = None,
    ) -> LossInput:
        n = len(now)
        old = now if then is None else then
        question = Question("q", "Where?", ("here",))
        sampled = tuple(np.log(old if sampler is None else sampler).tolist())
        segments = (Segment("prompt", "p", (1,)), Segment("model", "", (0,) * n, sampled, (Span.QUERY,) * n))
        group = Group(question, (Trajectory(question, segments, (), "answered", 0.0),))
        table = TokenTable.build([group], [np.ones(n) if credit is None else np.array(credit)])
        table = replace(table, old_logprob=torch.tensor(np.log(old), dtype=torch.float32))
        taught = None if teacher is None else two(teacher)
        logits = two(now).requires_grad_()
        return LossInput(table, logits, pick(logits, table.token), taught)

    return build


def two(probabilities: Sequence[float]) -> Tensor:
    """Return logits over two tokens, the first of which has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (-p).log1p()], 1).float()


Attempt = Callable[..., Trajectory]
ByTurn = Callable[[Group, Sequence[NDArray[np.float64]]], list[list[float]]]


@pytest.fixture
def attempt() -> Attempt:
    """Return a builder of an episode: its reward, its turns, and what it was shown after each."""

    def build(
        reward: float, *turns: Turn, shown: Sequence[str] = (), question: Question = HERE, branch: Any = None
    ) -> Trajectory:
        played = example_trajectory(question, [(t.kind, t.text) for t in turns], reward)
        segments = list(played.segments)
        for i, text in enumerate(shown):
            segments[2 * i + 2] = replace(segments[2 * i + 2], text=text)
        return replace(played, segments=tuple(segments), turns=turns, branch=branch)

    return build


@pytest.fixture
def by_turns() -> ByTurn:
    """Return a reader of credits that are the same for all tokens of a turn: one number per turn and trajectory."""

    def read(group: Group, credits: Sequence[NDArray[np.float64]]) -> list[list[float]]:
        parts = [by_turn(t, c) for t, c in zip(group.kept, credits, strict=True)]
        assert all(np.array_equal(p, np.full(len(p), p[0]), equal_nan=True) for own in parts for p in own)
        return [[float(p[0]) for p in own] for own in parts]

    return read

"""Continuations with common random numbers: what is drawn depends on question, continuation, turn and token alone.

Continuation i of a state and continuation i of the state after one more turn then draw the same numbers in the same
turns. Where they stand alike they go on alike, and the difference of their rewards varies less than either. Tokens are
taken from the inverse of the cumulative distribution, so that the same number picks neighbouring tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from sdsearch.agents.engines.transformers import Transformers, TransformersSampler
from sdsearch.agents.local import LocalSession
from sdsearch.contracts.agent import Reply
from sdsearch.contracts.engine import Completion
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment


class PairedSession(LocalSession):
    """Goes on with episodes, `k` rows for each; the sampler is that of this process, whatever the spec's engine is."""

    def __init__(self, session: LocalSession, k: int) -> None:
        """Take the policy of another session."""
        engine = session.settings.engine
        settings = engine if isinstance(engine, Transformers) else Transformers()
        self.paired = PairedSampler(session.policy, session.grammar.stop, settings)
        super().__init__(session.policy, self.paired, session.grammar, session.settings)
        self.k = k

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin: row i is continuation i % k of its question."""
        super().reset(questions, seed, greedy)
        self.paired.streams = [(seed, crc32(q.id.encode()), i % self.k) for i, q in enumerate(questions)]

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """See `sdsearch.contracts.agent.AgentSession`."""
        self.paired.turns = {row: len(past) // 2 for row, past in zip(rows, pasts, strict=True)}
        return super().resume(rows, pasts)


class PairedSampler(TransformersSampler):
    """Draws each row's tokens from the stream of its continuation and turn."""

    streams: Sequence[tuple[int, int, int]] = ()
    """The seed, the question and the number of the continuation, by row."""
    turns: dict[int, int]
    """The turn that comes next, by row."""

    def sample(self, rows: Sequence[int], added: Sequence[Sequence[int]], room: Sequence[int]) -> list[Completion]:
        """See `sdsearch.contracts.engine.Sampler`."""
        dice = [np.random.default_rng((*self.streams[row], self.turns[row])) for row in rows]
        self.numbers = iter(torch.from_numpy(np.array([d.random(max(room)) for d in dice])).T)
        for row in rows:
            self.turns[row] += 1
        return super().sample(rows, added, room)

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        if self.greedy:
            return super()._choose(logits)
        logprobs = logits.log_softmax(-1)
        below = logprobs.double().exp().cumsum(-1)
        wanted = next(self.numbers).to(below.device)[:, None] * below[:, -1:]
        chosen = torch.searchsorted(below, wanted, right=True).clamp_max(logits.shape[1] - 1)
        return chosen[:, 0], logprobs.gather(1, chosen)[:, 0]

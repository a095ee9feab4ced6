"""Sample with the policy's own weights, in this process, keeping the key-value cache across turns.

Only the tokens that a turn adds are run through the model; episodes that end leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sdsearch.contracts.engine import Completion, Engine

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch.policy.policy import Policy


class Transformers(Engine):
    """Sample in this process with any causal language model of the transformers library."""

    holes: float = Field(0.25, ge=0, lt=1)
    """Rows of a batch end their turns at different lengths, which leaves unused places in the cache; they are squeezed
    out after a turn when their share is above this."""

    def open(self, policy: Policy, stop: Sequence[str]) -> TransformersSampler:
        """Return the sampler."""
        return TransformersSampler(policy, stop, self)


class TransformersSampler:
    """Batched ancestral sampling; see `sdsearch.contracts.engine.Sampler`."""

    def __init__(self, policy: Policy, stop: Sequence[str], settings: Transformers) -> None:
        """Prepare the sampler; the first call may come after the weights have changed."""
        import torch

        self.policy, self.stop, self.settings = policy, tuple(stop), settings
        self.generator = torch.Generator(device=policy.device)
        # A turn can only end with a token whose text holds the last character of a stop string: only then is the
        # turn decoded and searched.
        ends = {s[-1] for s in self.stop}
        size = policy.head.weight.shape[0]
        known = min(size, len(policy.codec.tokenizer))
        texts = policy.codec.tokenizer.batch_decode([[i] for i in range(known)], skip_special_tokens=False)
        self.may_end = [bool(ends & set(t)) for t in texts] + [False] * (size - known)
        self.reset(0)

    def reset(self, seed: int, greedy: bool = False) -> None:
        """Forget all contexts and seed the sampling; greedy: take the likeliest token instead."""
        from sdsearch.policy.kv_cache import Context

        self.greedy = greedy
        self.generator.manual_seed(seed)
        self.context = Context(self.policy)
        self.rows: list[int] = []
        self.unread: dict[int, int] = {}

    def sample(self, rows: Sequence[int], added: Sequence[Sequence[int]], room: Sequence[int]) -> list[Completion]:
        """Add tokens to the contexts `rows` and sample one turn in each."""
        import torch

        with torch.no_grad():
            return self._sample(rows, added, room)

    def _sample(self, rows: Sequence[int], added: Sequence[Sequence[int]], room: Sequence[int]) -> list[Completion]:
        self.policy.model.eval()
        if self.rows:
            place = {row: i for i, row in enumerate(self.rows)}
            self.context.keep([place[row] for row in rows])
        # The last token of a turn was sampled but never run: it opens the next turn.
        texts = [
            [*([self.unread[row]] if row in self.unread else []), *new] for row, new in zip(rows, added, strict=True)
        ]
        self.rows = list(rows)
        logits = self.context.extend(texts)
        tokens: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        live = [True] * len(rows)
        end_token = self.policy.codec.tokenizer.eos_token_id
        while True:
            chosen, logprob = self._choose(logits)
            for i, (token, lp) in enumerate(zip(chosen.tolist(), logprob.tolist(), strict=True)):
                if live[i]:
                    tokens[i].append(token)
                    logprobs[i].append(lp)
                    ended = token == end_token or (self.may_end[token] and self._stopped(tokens[i]))
                    live[i] = not ended and len(tokens[i]) < room[i]
            if not any(live):
                break
            logits = self.context.step(chosen, live)
        self.unread = {row: t[-1] for row, t in zip(rows, tokens, strict=True)}
        self.context.squeeze(self.settings.holes)
        return [Completion(tuple(t), tuple(p)) for t, p in zip(tokens, logprobs, strict=True)]

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        logprobs = logits.log_softmax(-1)
        if self.greedy:
            chosen = logprobs.argmax(-1)
        else:
            chosen = torch.multinomial(logprobs.exp(), 1, generator=self.generator)[:, 0]
        return chosen, logprobs.gather(1, chosen[:, None])[:, 0]

    def _stopped(self, tokens: Sequence[int]) -> bool:
        text = self.policy.codec.decode(tokens)
        return any(s in text for s in self.stop)

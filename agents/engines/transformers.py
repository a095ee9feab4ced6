"""Sample with the policy's own weights, in this process, keeping the key-value cache across turns.

Only the tokens that a turn adds are run through the model; episodes that end leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from sdsearch.contracts.engine import Completion, Engine, Model, Prompt, Sampling, Weights
from sdsearch.core.trajectory import FinishReason

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch.policy.kv_cache import Context


class Transformers(Engine):
    """Sample in this process with any causal language model of the transformers library."""

    holes: float = Field(0.25, ge=0, lt=1)
    """Rows of a batch end their turns at different lengths, which leaves unused places in the cache; they are squeezed
    out after a turn when their share is above this."""

    def open(self, model: Model, sampling: Sampling, weights: Weights | None = None) -> TransformersSampler:
        """Return the sampler."""
        from sdsearch.policy.policy import Policy

        return TransformersSampler(weights or Policy.load(model, sampling.temperature), self.holes)


class TransformersSampler:
    """Batched ancestral sampling; see `sdsearch.contracts.engine.Sampler`."""

    def __init__(self, policy: Weights, holes: float = 0.25) -> None:
        """Prepare the sampler; `holes` is as in `Transformers`."""
        self.policy, self.holes = policy, holes
        self.version, self.greedy = 0, False
        self.ends = end_tokens(policy)
        self.may_end = lru_cache(maxsize=4)(self._may_end)
        # A processor's time is that of its rows; an accelerator's is not, and its memory is dear.
        self.narrows = policy.device.type == "cpu"
        self.reset()

    def sync(self, version: int) -> None:
        """Note the version: the weights are the learner's own, so that they are already as they are now."""
        self.version = version
        self.reset(self.greedy)

    def reset(self, greedy: bool = False) -> None:
        """Forget all contexts; greedy: take the likeliest token from now on."""
        from sdsearch.policy.kv_cache import Context

        self.greedy = greedy
        self.context = Context(self.policy)
        self.read: dict[int, list[int]] = {}

    def sample(self, prompts: Sequence[Prompt], stops: Sequence[str]) -> list[Completion]:
        """Sample a turn after each prompt; only what the cache does not hold of it is run."""
        import torch

        with torch.no_grad():
            return self._sample(prompts, tuple(stops))

    def _sample(self, prompts: Sequence[Prompt], stops: tuple[str, ...]) -> list[Completion]:
        self.policy.model.eval()
        if not all(self._follows(prompt) for prompt in prompts):
            self.reset(self.greedy)
        if self.read:
            place = {row: i for i, row in enumerate(self.read)}
            self.context.keep([place[prompt.row] for prompt in prompts])
        logits = self.context.extend([prompt.tokens[len(self.read.get(prompt.row, ())) :] for prompt in prompts])
        tokens: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        reasons: list[FinishReason] = ["" for _ in prompts]
        may_end = self.may_end(stops)
        numbers = drawn([prompt.seed for prompt in prompts], max(prompt.room for prompt in prompts))
        # Which prompt each row of the running context belongs to; and the contexts that it is a branch of.
        context, rows = self.context, list(range(len(prompts)))
        wider: list[tuple[Context, list[int]]] = []
        while True:
            number = next(numbers)
            chosen, logprob = self._choose(logits, [number[i] for i in rows])
            for i, token, lp in zip(rows, chosen.tolist(), logprob.tolist(), strict=True):
                if not reasons[i]:
                    tokens[i].append(token)
                    logprobs[i].append(lp)
                    if token in self.ends:
                        reasons[i] = "end"
                    elif may_end[token] and self._stopped(tokens[i], stops):
                        reasons[i] = "stop"
                    elif len(tokens[i]) == prompts[i].room:
                        reasons[i] = "length"
            live = [place for place, i in enumerate(rows) if not reasons[i]]
            if not live:
                break
            if self.narrows and len(live) <= len(rows) / 2:
                wider.append((context, live))
                context, rows, chosen = context.branch(live), [rows[place] for place in live], chosen[live]
            logits = context.step(chosen, [not reasons[i] for i in rows])
        for outer, places in reversed(wider):
            outer.join(context, places)
            context = outer
        # The last token of a turn was sampled but never run: it is still to be read.
        self.read = {p.row: [*p.tokens, *new[:-1]] for p, new in zip(prompts, tokens, strict=True)}
        self.context.squeeze(self.holes)
        turns = zip(tokens, logprobs, reasons, strict=True)
        return [Completion(tuple(t), tuple(p), reason, self.version) for t, p, reason in turns]

    def _follows(self, prompt: Prompt) -> bool:
        """Say whether the cache can serve a prompt: it holds nothing yet, or a beginning of it."""
        read = self.read.get(prompt.row)
        if read is None:
            return not self.read
        return len(read) < len(prompt.tokens) and list(prompt.tokens[: len(read)]) == read

    def _choose(self, logits: Tensor, numbers: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return a token for each row of logits [rows, vocabulary], and its log-probability.

        It is where the cumulative distribution passes the row's number: a row's tokens do not depend on its neighbours.
        """
        import torch

        logprobs = logits.log_softmax(-1)
        if self.greedy:
            chosen = logprobs.argmax(-1, keepdim=True)
        else:
            exact = torch.float32 if logits.device.type == "mps" else torch.float64  # Apple's has no doubles
            below = logprobs.exp().cumsum(-1, dtype=exact)
            wanted = below.new_tensor(numbers)[:, None] * below[:, -1:]
            chosen = torch.searchsorted(below, wanted, right=True).clamp_max(logits.shape[1] - 1)
        return chosen[:, 0], logprobs.gather(1, chosen)[:, 0]

    def _stopped(self, tokens: Sequence[int], stops: Sequence[str]) -> bool:
        text = self.policy.codec.decode(tokens)
        return any(s in text for s in stops)

    def _may_end(self, stops: tuple[str, ...]) -> list[bool]:
        """Say of each token whether its text holds the last character of a stop string: only such a one can end a turn.

        Only then is the turn decoded and searched.
        """
        ends, tokenizer = {s[-1] for s in stops}, self.policy.codec.tokenizer
        size = self.policy.model.get_output_embeddings().weight.shape[0]
        known = min(size, len(tokenizer))
        texts = tokenizer.batch_decode([[i] for i in range(known)], skip_special_tokens=False)
        return [bool(ends & set(t)) for t in texts] + [False] * (size - known)


def end_tokens(policy: Weights) -> frozenset[int]:
    """Return every token that ends a turn: those of codec, generation settings and configuration, one or several."""
    config = policy.model.config
    places = (policy.model.generation_config, config, config.get_text_config(decoder=True))
    given = [getattr(place, "eos_token_id", None) for place in places]
    listed = [i for ends in given for i in (ends if isinstance(ends, list | tuple) else [ends])]
    return frozenset(policy.codec.ends | {i for i in listed if i is not None})


def drawn(seeds: Sequence[int], count: int) -> Iterator[list[float]]:
    """Yield, `count` times, a number between 0 and 1 for each seed: the n-th of a seed is always the same."""
    yield from np.array([np.random.default_rng(seed).random(count) for seed in seeds]).T.tolist()

"""Act with a causal language model whose weights are in this process, so that it can be trained.

Any model of the transformers library, by hub name or path, as safetensors or GGUF; `seed-policy` is the small one that
comes with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import Engine, Sampler
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment
from sdsearch.errors import ContextError
from sdsearch.policy.settings import PolicySettings

if TYPE_CHECKING:
    from sdsearch.policy.policy import Policy


class Local(Agent, PolicySettings):
    """A language model that samples its actions token by token."""

    engine: Engine = Field(default="transformers", validate_default=True)
    """What samples."""

    def open(self, grammar: Grammar) -> LocalSession:
        """Load the model. Raises `ModelError` when something that is needed is missing."""
        from sdsearch.policy.policy import Policy

        policy = Policy.load(self)
        return LocalSession(policy, self.engine.open(policy, grammar.stop), grammar, self)


class LocalSession:
    """Plays episodes with a policy; keeps every sampled token and its log-probability."""

    def __init__(self, policy: Policy, sampler: Sampler, grammar: Grammar, settings: Local) -> None:
        """Take an opened policy and sampler."""
        self.policy, self.codec, self.sampler = policy, policy.codec, sampler
        self.grammar, self.settings = grammar, settings
        self.context = settings.context or policy.positions
        self.lengths: dict[int, int] = {}

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.sampler.reset(seed, greedy)
        self.lengths = {}

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`. Raises `ContextError` when a prompt alone does not fit."""
        contexts: list[Segment] = []
        for row, text in zip(rows, texts, strict=True):
            opening = row not in self.lengths
            tokens = self.codec.prompt(text) if opening else self.codec.encode(text)
            if opening and len(tokens) >= self.context:
                raise ContextError(
                    f"the prompt takes {len(tokens)} tokens and agent.context is {self.context}: "
                    "raise agent.context or shorten the instruction"
                )
            contexts.append(Segment("prompt" if opening else "observation", text, tokens))
        return self._sample(rows, contexts, [c.tokens for c in contexts])

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes from their tokens. Raises `ValueError` for a past without tokens."""
        if bare := next((s for past in pasts for s in past if s.text and not s.tokens), None):
            raise ValueError(f"got a {bare.role} without tokens, expected a past that this kind of agent recorded")
        return self._sample(rows, [past[-1] for past in pasts], [[t for s in past for t in s.tokens] for past in pasts])

    def _sample(self, rows: Sequence[int], contexts: Sequence[Segment], added: Sequence[Sequence[int]]) -> list[Reply]:
        """Sample a turn in each of `rows`; `added[j]` are the tokens that the sampler has not yet seen of row j."""
        for row, tokens in zip(rows, added, strict=True):
            self.lengths[row] = self.lengths.get(row, 0) + len(tokens)
        room = [min(self.settings.max_new_tokens, self.context - self.lengths[row]) for row in rows]
        able = [i for i, r in enumerate(room) if r > 0]
        replies: list[Reply] = [Reply(c, None) for c in contexts]
        if not able:
            return replies
        completions = self.sampler.sample([rows[i] for i in able], [added[i] for i in able], [room[i] for i in able])
        for i, (tokens, logprobs) in zip(able, completions, strict=True):
            self.lengths[rows[i]] += len(tokens)
            spans = self.codec.spans(tokens, self.grammar)
            action = Segment("model", self.codec.decode(tokens), tokens, logprobs, spans)
            replies[i] = Reply(contexts[i], action)
        return replies

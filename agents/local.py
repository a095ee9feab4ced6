"""Act with a causal language model whose weights are in this process, so that it can be trained.

Any model of the transformers library, by hub name or path, as safetensors or GGUF; `seed-policy` is the small one that
comes with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sdsearch.agents.engines.transformers import Transformers
from sdsearch.errors import ContextError
from sdsearch.model.policy import Policy
from sdsearch.trajectory import Segment
from sdsearch.types import Agent, Engine, Grammar, Question, Sampler, Step


class Local(Agent):
    """A language model that samples its actions token by token."""

    model: str = "seed-policy"
    """A folder, a hub name, or a name under the package's own weights."""
    gguf_file: str | None = None
    """The GGUF file inside `model`, for weights in that form."""
    chat: bool = False
    """Put the prompt through the tokeniser's chat template, once, as the user's message. A template that would write
    earlier turns otherwise later on is refused."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits, in sampling and in training alike."""
    max_new_tokens: int = Field(64, ge=1)
    """The most tokens that one turn may take; a turn cut off here is an invalid action unless one stands in it."""
    context: int | None = Field(None, ge=16)
    """The most tokens that an episode may take; one that would go past it ends as `context_full`. By default all that
    the model has positions for; leave room for a hint where one is put in front."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights while sampling and training."""
    device: str = "auto"
    """Where the weights go; "auto" takes an accelerator if there is one."""
    trust_remote_code: bool = False
    """Run code that comes with a model from the hub."""
    engine: Engine = Transformers()
    """What samples."""

    def open(self, grammar: Grammar) -> LocalActor:
        """Load the model. Raises `ModelError` when something that is needed is missing."""
        policy = Policy.load(self)
        return LocalActor(policy, self.engine.open(policy, grammar.stop), grammar, self)


class LocalActor:
    """Plays episodes with a policy; keeps every sampled token and its log-probability."""

    def __init__(self, policy: Policy, sampler: Sampler, grammar: Grammar, settings: Local) -> None:
        """Take an opened policy and sampler."""
        self.policy, self.sampler, self.grammar, self.settings = policy, sampler, grammar, settings
        self.context = settings.context or policy.positions
        self.lengths: dict[int, int] = {}

    def reset(self, questions: Sequence[Question], seed: int, greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.sampler.reset(seed, greedy)
        self.lengths = {}

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Step]:
        """Act once in each of `rows`. Raises `ContextError` when a prompt alone does not fit."""
        contexts: list[Segment] = []
        for row, text in zip(rows, texts, strict=True):
            opening = row not in self.lengths
            tokens = self.policy.prompt_tokens(text) if opening else self.policy.encode(text)
            if opening and len(tokens) >= self.context:
                raise ContextError(
                    f"the prompt takes {len(tokens)} tokens and agent.context is {self.context}: "
                    "raise agent.context or shorten the instruction"
                )
            contexts.append(Segment("prompt" if opening else "observation", text, tokens))
        return self._sample(rows, contexts, [c.tokens for c in contexts])

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Step]:
        """Go on with recorded episodes from their tokens. Raises `ValueError` for a past without tokens."""
        if bare := next((s for past in pasts for s in past if s.text and not s.tokens), None):
            raise ValueError(f"got a {bare.role} without tokens, expected a past that this kind of agent recorded")
        return self._sample(rows, [past[-1] for past in pasts], [[t for s in past for t in s.tokens] for past in pasts])

    def _sample(self, rows: Sequence[int], contexts: Sequence[Segment], added: Sequence[Sequence[int]]) -> list[Step]:
        """Sample a turn in each of `rows`; `added[j]` are the tokens that the sampler has not yet seen of row j."""
        for row, tokens in zip(rows, added, strict=True):
            self.lengths[row] = self.lengths.get(row, 0) + len(tokens)
        room = [min(self.settings.max_new_tokens, self.context - self.lengths[row]) for row in rows]
        able = [i for i, r in enumerate(room) if r > 0]
        steps: list[Step] = [Step(c, None) for c in contexts]
        if not able:
            return steps
        done = self.sampler.sample([rows[i] for i in able], [added[i] for i in able], [room[i] for i in able])
        for i, (tokens, logprobs) in zip(able, done, strict=True):
            self.lengths[rows[i]] += len(tokens)
            spans = self.policy.spans(tokens, self.grammar)
            action = Segment("model", self.policy.decode(tokens), tokens, logprobs, spans)
            steps[i] = Step(contexts[i], action)
        return steps

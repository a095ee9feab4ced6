"""Act with the spec's `model`: it samples every action, token by token, and it is what training changes.

The agent says only that the model acts. It loads nothing: whoever owns the weights opens the model and hands it over.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import LanguageModel, Prompt
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment
from sdsearch.errors import ContextError, ModelError


class PolicyAgent(Agent):
    """The spec's `model`, sampled as `sampling` says."""

    trainable: ClassVar[bool] = True

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> PolicySession:
        """Return the session. Raises `ModelError` without a model."""
        if model is None:
            raise ModelError("the agent `policy` was opened without a model, expected the opened `model` of its spec")
        return PolicySession(grammar, model)


class PolicySession:
    """Plays episodes with a language model; keeps every sampled token and its log-probability."""

    def __init__(self, grammar: Grammar, model: LanguageModel) -> None:
        """Take the grammar of the environment and an opened model."""
        self.grammar, self.model = grammar, model
        self.seeds: Sequence[int] = ()
        self.contexts: dict[int, list[int]] = {}
        self.turns: dict[int, int] = {}

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.model.sampler.reset(greedy)
        self.seeds, self.contexts, self.turns = seeds, {}, {}

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`. Raises `ContextError` when a prompt alone does not fit."""
        codec, shown = self.model.codec, list[Segment]()
        for row, text in zip(rows, texts, strict=True):
            opening = row not in self.contexts
            tokens = codec.prompt(text) if opening else codec.observation(text, self.contexts[row])
            if opening and len(tokens) >= self.model.context:
                raise ContextError(
                    f"the prompt takes {len(tokens)} tokens and sampling.context is {self.model.context}: "
                    "raise sampling.context or shorten the instruction"
                )
            shown.append(Segment("prompt" if opening else "observation", text, tokens))
            self.contexts.setdefault(row, []).extend(tokens)
        return self._sample(rows, shown)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes from their tokens. Raises `ValueError` for a past without tokens."""
        if bare := next((s for past in pasts for s in past if s.text and not s.tokens), None):
            raise ValueError(f"got a {bare.role} without tokens, expected a past that this kind of agent recorded")
        for row, past in zip(rows, pasts, strict=True):
            self.contexts[row] = [t for s in past for t in s.tokens]
            self.turns[row] = len(past) // 2
        return self._sample(rows, [past[-1] for past in pasts])

    def _sample(self, rows: Sequence[int], shown: Sequence[Segment]) -> list[Reply]:
        """Sample a turn in each of `rows`; `shown[j]` is the last that the context of row j holds."""
        model, prompts, places = self.model, list[Prompt](), list[int]()
        for place, row in enumerate(rows):
            turn = self.turns.get(row, 0)
            self.turns[row] = turn + 1
            if (room := min(model.max_new_tokens, model.context - len(self.contexts[row]))) > 0:
                seed = Random(f"{self.seeds[row]}/{turn}").getrandbits(63)
                prompts.append(Prompt(row, tuple(self.contexts[row]), room, seed))
                places.append(place)
        replies = [Reply(segment, None) for segment in shown]
        completions = model.sampler.sample(prompts, self.grammar.stop) if prompts else []
        for place, prompt, (tokens, logprobs, reason, version) in zip(places, prompts, completions, strict=True):
            self.contexts[prompt.row].extend(tokens)
            spans = model.codec.spans(tokens, self.grammar)
            action = Segment("model", model.codec.decode(tokens), tokens, logprobs, spans)
            replies[place] = Reply(shown[place], action, reason, version)
        return replies

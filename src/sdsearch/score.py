"""Logits for rows of the token table, with or without a hint in front; and the weights that may teach."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sdsearch.errors import ContextError
from sdsearch.policy import Policy
from sdsearch.tokens import TokenTable

Kind = Literal["live", "ema", "frozen"]


def score(policy: Policy, rows: TokenTable, hints: Sequence[str | None] | None = None) -> Tensor:
    """Return the policy's logits for the tokens of `rows` (sorted by trajectory), shape [rows, vocabulary].

    With `hints` (one per trajectory of the table) the prompt is written anew with the hint in front; every token after
    the prompt stays the one that was seen or sampled, so rows are matched by token, never by position.
    Raises `ContextError` when hint and episode do not fit the model.
    """
    prompts: list[Sequence[int]] = []
    rest: list[Sequence[int]] = []
    positions: list[list[int]] = []
    last = -1
    for index, position in zip(rows.trajectory.tolist(), rows.position.tolist(), strict=True):
        trajectory = rows.trajectories[index]
        seen = len(trajectory.segments[0].tokens)
        if index != last:
            hint = hints[index] if hints else None
            opening = trajectory.segments[0]
            prompts.append(opening.tokens if hint is None else policy.prompt_tokens(hint + opening.text))
            rest.append(trajectory.tokens[seen:])
            positions.append([])
            last = index
            if (need := len(prompts[-1]) + len(rest[-1])) > policy.positions:
                raise ContextError(
                    f"question {trajectory.question.id}: hint and episode take {need} tokens and the model has "
                    f"{policy.positions} positions: limit the hint, lower agent.context, or use another model"
                )
        positions[-1].append(position - seen)
    return policy.logits(prompts, rest, positions)


class Teachers:
    """The weights that may score rows a second time: the policy itself, a moving average of it, or its first state."""

    def __init__(self, policy: Policy, kinds: set[str], ema: float) -> None:
        """Copy the policy for each kind that is needed; "live" needs no copy."""
        self.ema_rate = ema
        self.policies: dict[str, Policy] = {"live": policy}
        for kind in sorted(kinds - {"live"}):
            twin = copy.copy(policy)
            twin.model = copy.deepcopy(policy.model).requires_grad_(False)
            twin.head = twin.model.get_output_embeddings()
            twin.decoder = twin.model.get_decoder()
            self.policies[kind] = twin

    def score(self, kind: str, rows: TokenTable, hints: Sequence[str | None] | None) -> Tensor:
        """Score rows without gradient and without dropout; see `score`."""
        policy = self.policies[kind]
        training = policy.model.training
        policy.model.eval()
        with torch.no_grad():
            logits = score(policy, rows, hints)
        policy.model.train(training)
        return logits

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the policy after a step."""
        if twin := self.policies.get("ema"):
            live = self.policies["live"].model.parameters()
            for average, new in zip(twin.model.parameters(), live, strict=True):
                average.lerp_(new, self.ema_rate)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights of the copies, for a checkpoint."""
        return {k: p.model.state_dict() for k, p in self.policies.items() if k != "live"}

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take the weights of the copies from a checkpoint."""
        for kind, weights in state.items():
            self.policies[kind].model.load_state_dict(weights)

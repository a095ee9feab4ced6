"""Logits for rows of the token table, with or without a hint; and the weights that may teach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdsearch.contracts.hint import Hints, beside, hint_at
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, kept
from sdsearch.errors import ContextError, ModelError
from sdsearch.policy.batching import table_batches
from sdsearch.policy.logprobs import pick
from sdsearch.policy.policy import Policy


def score(policy: Policy, rows: TokenTable, hints: Hints | None = None) -> Tensor:
    """Return the policy's logits for the tokens of `rows` (sorted by trajectory), shape [rows, vocabulary].

    With `hints` (per trajectory of the table) the prompt is written anew with the hint in its place; every token after
    the prompt stays the one that was seen or sampled, so rows are matched by token, never by position. A hint that
    differs from turn to turn makes one sequence of each turn.
    Raises `ContextError` when hint and episode do not fit the model.
    """
    prompts: list[Sequence[int]] = []
    rest: list[Sequence[int]] = []
    positions: list[list[int]] = []
    last: tuple[int, int] | None = None
    columns = (rows.trajectory.tolist(), rows.turn.tolist(), rows.position.tolist())
    for index, turn, position in zip(*columns, strict=True):
        trajectory = rows.trajectories[index]
        seen = len(trajectory.segments[0].tokens)
        whole = hints[index] if hints else None
        here = (index, turn if isinstance(whole, tuple) else 0)
        if here != last:
            hint = hint_at(whole, turn)
            opening = trajectory.segments[0]
            prompts.append(opening.tokens if hint is None else policy.codec.prompt(beside(hint, opening.text)))
            rest.append(trajectory.tokens[seen:])
            positions.append([])
            last = here
            if (need := len(prompts[-1]) + len(rest[-1])) > policy.positions:
                raise ContextError(
                    f"question {trajectory.question.id}: hint and episode take {need} tokens and the model has "
                    f"{policy.positions} positions: limit the hint, lower sampling.context, or use another model"
                )
        positions[-1].append(position - seen)
    return policy.logits(prompts, rest, positions)


class Teachers:
    """The weights that may score rows a second time: the policy itself, a moving average of it, or its first state."""

    def __init__(self, policy: Policy, kinds: AbstractSet[str], ema: float, external: Policy | None = None) -> None:
        """Copy the policy for each kind that is needed; "live" needs no copy. `ema` is as in `Train`.

        Raises `ModelError` when the `external` model has another vocabulary: it could not score the same tokens.
        """
        self.ema_rate = ema
        self.policies: dict[str, Policy] = {"live": policy}
        if external is not None:
            if external.codec.tokenizer.get_vocab() != policy.codec.tokenizer.get_vocab():
                raise ModelError("the spec's `teacher` has another vocabulary than its agent: expected the same tokens")
            external.model.requires_grad_(False)
            external.temperature = policy.temperature
            self.policies["external"] = external
        for kind in sorted(kinds - {"live", "external"}):
            twin = policy.twin()
            twin.model.requires_grad_(False)
            self.policies[kind] = twin
        # Half precision would round a small step of the average away, and the average would never move.
        self.averages = [p.detach().float() for p in self.policies["ema"].model.parameters()] if "ema" in kinds else []

    @contextmanager
    def reading(self, kind: str) -> Iterator[None]:
        """Let some weights be read without gradient and without dropout."""
        model = self.policies[kind].model
        training = model.training
        model.eval()
        with torch.no_grad():
            yield
        model.train(training)

    def score(self, kind: str, rows: TokenTable, hints: Hints | None) -> Tensor:
        """Score rows without gradient and without dropout; see `score`."""
        with self.reading(kind):
            return score(self.policies[kind], rows, hints)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the policy after a step."""
        if twin := self.policies.get("ema"):
            live = self.policies["live"].model.parameters()
            for average, shown, new in zip(self.averages, twin.model.parameters(), live, strict=True):
                average.lerp_(new.float(), self.ema_rate)
                shown.copy_(average)

    @property
    def moving(self) -> list[Tensor]:
        """What `follow` moves."""
        return [*self.averages, *self.policies["ema"].model.parameters()] if self.averages else []

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the copies, for a checkpoint."""
        copies = {k: p.model.state_dict() for k, p in self.policies.items() if k not in ("live", "external")}
        return {"copies": copies, "averages": self.averages}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the weights of the copies from a checkpoint."""
        for kind, weights in state["copies"].items():
            self.policies[kind].model.load_state_dict(weights)
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.copy_(saved)


def logprobs(
    weights: Teachers, kind: str, budget: int, groups: Sequence[Group], hints: Hints | None = None
) -> list[NDArray[np.float64]]:
    """Return the log-probability of each sampled token of each kept trajectory, shape [sampled].

    `budget` is of tokens scored at once. `hints`, one per kept trajectory, stand beside the prompts; where one is
    None the numbers are NaN. Raises `ContextError` when a hint and its episode do not fit the model.
    """
    lengths = [t.sampled for t in kept(groups)]
    table = TokenTable.build(groups, [np.full(length, np.nan) for length in lengths])
    rows = torch.ones(len(table), dtype=torch.bool)
    if hints is not None:
        places = zip(table.trajectory.tolist(), table.turn.tolist(), strict=True)
        rows = torch.tensor([hint_at(hints[i], turn) is not None for i, turn in places], dtype=torch.bool)
    table = table.to(weights.policies["live"].device)
    found = torch.full((len(table),), torch.nan, dtype=torch.float64)
    wanted = rows.to(table.token.device)
    for part in (whole[wanted[whole]] for whole in table_batches(table, wanted, budget)):
        logits = weights.score(kind, table.at(part), hints)
        found[part.cpu()] = pick(logits, table.token[part]).cpu().double()
    return [part.numpy() for part in torch.split(found, lengths)] if lengths else []

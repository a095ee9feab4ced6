"""Whether a model says the same of a sequence however it is run; if not, it is refused.

A policy is run in several ways: with a cache in pieces, as an episode grows; in padded batches that share prompts, as
it is trained and taught; and with its head apart from what is below. A model that depends on how a sequence is cut (by
places of the cache, by a table that is switched, by a state that has read padding) would be trained on other
probabilities than it was sampled from, and nothing would tell.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sdsearch.errors import ModelError

LENGTH = 14
"""Tokens of the sequences that a model is looked at with, or more where its configuration says that more matter."""
WINDOW = 5
"""Windows are this narrow meanwhile, so that a short sequence meets them."""
OPENING = 4
"""Tokens of the prompt that the sequences share."""
LARGE = 100_000_000
"""A model with more parameters is looked at in its first layers, those of every kind: loading must not take longer."""
GROWTH = (1.0, 4.0, 16.0, 64.0)
"""Hidden states are multiplied by these, in turn, to see what is done to logits of any size."""
SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "logits_mup_width_multiplier")
"""Where configurations say by what logits are multiplied, or divided."""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Where they say what logits are squeezed below, by cap * tanh(logits / cap)."""
TAKEN = ("position_ids", "past_key_values")
"""What a decoder has to take, so that it can be run in pieces."""

States = list[tuple[int, int, Tensor]]
"""Hidden states [S, H] of a row, from a position on."""


def agree(policy: Any) -> None:
    """Find out how the model of a `Policy` makes logits of hidden states, then run random sequences in every way.

    Raises `ModelError`, which names the way, when one differs from the model's own whole forward pass by more than
    rounding does.
    """
    model = policy.model
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), policy.attention.narrowed(WINDOW):
            policy.scale, policy.cap = finish(policy)
            try:
                with shortened(policy), precise(policy):
                    Ways(policy).compare()
            except ModelError:
                # Not every model can be cut short: what is refused is refused by all of it.
                with precise(policy):
                    Ways(policy).compare()
    finally:
        model.train(training)


def finished(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """Return the logits that a model makes of those of its head."""
    if scale != 1.0:
        logits = logits * scale
    return logits if cap is None else cap * (logits / cap).tanh()


def finish(policy: Any) -> tuple[float, float | None]:
    """Return what the model multiplies the logits of its head by, and what it squeezes them below (None: nothing).

    Raises `ModelError` when it makes them in another way, or they are not finite.
    """
    name, seen = type(policy.model).__name__, list[Tensor]()
    growth = torch.tensor(GROWTH, device=policy.device)[:, None]

    def grow(module: Any, given: Any, out: Any) -> Any:
        seen.append(out.last_hidden_state)
        out.last_hidden_state = out.last_hidden_state * growth.to(out.last_hidden_state)
        return out

    def run() -> tuple[Tensor, Tensor]:
        hook = policy.decoder.register_forward_hook(grow)
        try:
            tokens = drawn(policy, 1, len(GROWTH))
            whole = policy.model(input_ids=torch.tensor(tokens, device=policy.device), use_cache=False).logits
        finally:
            hook.remove()
        (hidden,) = seen
        return whole.float(), policy.head(hidden * growth.to(hidden)).float()

    whole, raw = attempt(policy, "its own forward pass", run)
    if not raw.isfinite().all():
        raise ModelError(
            f"{name} gives logits that are not finite: its weights hold NaN or infinite numbers, or "
            f"{policy.model.dtype} is too narrow for them (try float32)"
        )
    given = {key: getattr(policy.attention.config, key, None) for key in (*SCALES, *CAPS)}
    numbers = {key: float(v) for key, v in given.items() if isinstance(v, int | float) and v}
    scales = [1.0, *(n for key in SCALES if key in numbers for n in (numbers[key], 1 / numbers[key]))]
    caps = [None, *(numbers[key] for key in CAPS if key in numbers)]

    def error(pair: tuple[float, float | None]) -> float:
        return float((finished(raw, *pair) - whole).norm() / whole.norm().clamp_min(1e-30))

    best = min(((scale, cap) for scale in scales for cap in caps), key=error)
    if not error(best) <= rounding(policy):
        raise ModelError(
            f"{name} changes its logits after the head in a way of its own: expected head(hidden), times or over one "
            f"of {', '.join(SCALES)}, squeezed below one of {', '.join(CAPS)}, as its configuration says; "
            "choose another model"
        )
    return best


class Ways:
    """Two random sequences, what the model itself says of them, and the ways to say it again."""

    def __init__(self, policy: Any) -> None:
        """Run the model as it comes."""
        self.length = min(max(LENGTH, 1 + policy.attention.least), policy.positions)
        self.policy = copy.copy(policy)
        # What is sampled from is looked at as hidden states, of which logits are made in one way.
        self.policy.project = lambda hidden: hidden
        if self.length < LENGTH:
            raise ModelError(f"{type(policy.model).__name__} has {self.length} positions, expected at least {LENGTH}")
        self.rows = drawn(policy, 2, self.length)
        self.rows[1][:OPENING] = self.rows[0][:OPENING]
        self.expected = attempt(policy, "its own forward pass", self._whole)

    def compare(self) -> None:
        """Take every way. Raises `ModelError` for the first that differs."""
        for what, way in (
            ("a padded batch with a shared prompt", self._batch),
            ("a cache in pieces, as an episode grows", self._pieces),
        ):
            for row, start, hidden in attempt(self.policy, what, way):
                self._same(what, self._logits(hidden), self._logits(self.expected[row, start : start + len(hidden)]))

    def _same(self, what: str, got: Tensor, expected: Tensor) -> None:
        """Compare logits [S, V]; rounding is a matter of how precise the weights are."""
        difference = got - expected
        spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
        apart = (difference - difference.mean(-1, keepdim=True)).norm(dim=-1)
        error = float((apart / spread.clamp_min(1e-30)).max())
        if not error <= rounding(self.policy):
            nats = float((got.log_softmax(-1) - expected.log_softmax(-1)).abs().max())
            raise ModelError(
                f"{type(self.policy.model).__name__} says otherwise of the same tokens when it is run by {what}: "
                f"log-probabilities differ by up to {nats:.2g} nats, {error:.1g} of their spread, where rounding "
                f"explains {rounding(self.policy):.1g}; what it computes depends on how a sequence is cut: choose "
                "another model"
            )

    def _whole(self) -> Tensor:
        hidden: Tensor = self.policy.decoder(input_ids=self._tensor(self.rows), use_cache=False).last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return logits at temperature 1, [S, V]."""
        return finished(self.policy.head(hidden).float(), self.policy.scale, self.policy.cap)

    def _batch(self) -> States:
        ends = (self.length, self.length - 3)
        rest = [row[OPENING:end] for row, end in zip(self.rows, ends, strict=True)]
        runs = self.policy.shared([row[:OPENING] for row in self.rows], rest)
        return [(i, OPENING - 1, hidden[j, : len(rest[i]) + 1]) for run, hidden in runs for j, i in enumerate(run)]

    def _pieces(self) -> States:
        from sdsearch.policy.kv_cache import Context

        context, done = Context(self.policy), [OPENING, OPENING]
        found: States = []

        def note(hidden: Tensor) -> None:
            """Keep what is said after the tokens of each row that are done; a row that stands still is skipped."""
            known = {(row, start) for row, start, _ in found}
            rows = [i for i in range(len(done)) if (i, done[i] - 1) not in known]
            found.extend((i, done[i] - 1, hidden[i : i + 1]) for i in rows)

        note(context.extend([row[:OPENING] for row in self.rows]))
        for live in ((True, True), (True, False)):  # the second leaves a hole
            tokens = self._tensor([row[at] for row, at in zip(self.rows, done, strict=True)])
            hidden = context.step(tokens, live)
            done = [at + int(is_live) for at, is_live in zip(done, live, strict=True)]
            note(hidden)
        for ends in ((self.length - 4, self.length - 6), (self.length, self.length - 2)):
            hidden = context.extend([row[at:end] for row, at, end in zip(self.rows, done, ends, strict=True)])
            done = list(ends)
            note(hidden)
            context.squeeze(0.0)
        return found

    def _tensor(self, numbers: Any) -> Tensor:
        return torch.tensor(numbers, device=self.policy.device)


def drawn(policy: Any, count: int, length: int) -> list[list[int]]:
    """Return random tokens, the same each time."""
    dice = torch.Generator().manual_seed(0)
    rows: list[list[int]] = torch.randint(1, policy.head.weight.shape[0], (count, length), generator=dice).tolist()
    return rows


def rounding(policy: Any) -> float:
    """Return the part of their size by which logits may differ for no other reason than the precision of a model."""
    return 2.0 * sqrt(torch.finfo(policy.model.dtype).eps)


def attempt(policy: Any, what: str, way: Callable[[], Any]) -> Any:
    """Run a model in a way; whatever it raises there, but for want of memory, is the reason why it is refused."""
    try:
        return way()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        taken = inspect.signature(policy.decoder.forward).parameters
        lacks = [name for name in TAKEN if name not in taken]
        said = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"{type(policy.model).__name__} cannot be run by {what} ({type(error).__name__}: {said})"
            f"{f', its decoder takes no {chr(32).join(lacks)}' if lacks else ''}: choose another model"
        ) from error


@contextmanager
def precise(policy: Any) -> Iterator[None]:
    """Let weights in half precision be in float32: a difference that matters would hide in their rounding."""
    kept = [(p, p.data) for p in policy.model.parameters() if p.dtype in (torch.bfloat16, torch.float16)]
    try:
        for parameter, data in kept:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextmanager
def shortened(policy: Any) -> Iterator[None]:
    """Let a large model have its first layers only, those of every kind, if its layers are in one list."""
    decoder, kinds = policy.decoder, policy.attention.kinds
    size = sum(parameter.numel() for parameter in policy.model.parameters())
    lists = [(n, m) for n, m in decoder.named_children() if isinstance(m, torch.nn.ModuleList) and len(m) == len(kinds)]
    if size < LARGE or len(lists) != 1:
        yield
        return
    ((name, layers),) = lists
    depth = max(2, *(kinds.index(kind) + 1 for kind in kinds))
    setattr(decoder, name, layers[:depth])
    try:
        yield
    finally:
        setattr(decoder, name, layers)

"""What can be said about logits [N, V]: the probability of a token, the entropy, the distance to other logits.

All of it is computed from log-probabilities: float32 then holds for any finite logits.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.contracts.loss import Divergence, Tail

LIMIT = 20.0
"""Log-ratios are clamped to this size before `exp`, which would overflow."""
CELLS = 1 << 24
"""Numbers of which `measured` makes a copy at once: 64 MB."""


def pick(logits: Tensor, token: Tensor) -> Tensor:
    """Return the log-probability of one token per row: logits [N, V], tokens [N] -> [N]."""
    return logits.gather(1, token[:, None]).squeeze(1) - logits.logsumexp(1)


def ratio(logprob: Tensor, reference: Tensor) -> Tensor:
    """Return exp(logprob - reference), between exp(-LIMIT) and exp(LIMIT)."""
    return (logprob - reference).clamp(-LIMIT, LIMIT).exp()


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats: logits [N, V] -> [N]."""
    logprobs = logits.log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)


class Measured(NamedTuple):
    """What is read off logits [N, V], each [N]."""

    logprob: Tensor
    """The log-probability of the token of each row."""
    entropy: Tensor
    """In nats."""
    normaliser: Tensor
    """log sum exp of the logits: a logit less this is a log-probability."""


@torch.no_grad()
def measured(logits: Tensor, token: Tensor) -> Measured:
    """Return `pick` and `entropy` of logits [N, V] and tokens [N], a few rows at once.

    No copy of all logits is made: where the vocabulary is large it would not fit.
    """
    count = max(1, CELLS // logits.shape[1])
    parts = [_measured(*part) for part in zip(torch.split(logits, count), torch.split(token, count), strict=True)]
    return Measured(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _measured(logits: Tensor, token: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    normaliser = logits.logsumexp(1)
    logprobs = logits - normaliser[:, None]
    entropy = -torch.linalg.vecdot(logprobs.exp(), logprobs)
    return logprobs.gather(1, token[:, None]).squeeze(1), entropy, normaliser


def top(logits: Tensor, k: int | None) -> Tensor | None:
    """Return the ids of the `k` most probable tokens, [N, k]; None: all of them."""
    return None if k is None or k >= logits.shape[1] else logits.topk(k, 1).indices


def reduced(logits: Tensor, support: Tensor | None, tail: Tail) -> Tensor:
    """Return log-probabilities on a support: logits [N, V], token ids [N, k] -> [N, k], or [N, k + 1] with a bucket."""
    if support is None:
        return logits.log_softmax(1)
    kept = logits.gather(1, support)
    if tail == "drop":
        return kept - logits.logsumexp(1, keepdim=True)
    if tail == "bucket":
        rest = logits.scatter(1, support, -torch.inf).logsumexp(1, keepdim=True)
        kept = torch.cat([kept, rest], 1)
    return kept.log_softmax(1)


def compare(student: Tensor, teacher: Tensor, divergence: Divergence, beta: float = 0.5) -> Tensor:
    """Return a divergence of log-probabilities [N, K] in nats: [N].

    forward_kl = KL(teacher || student), reverse_kl = KL(student || teacher), jsd = beta KL(teacher || M)
    + (1 - beta) KL(student || M) with M = beta teacher + (1 - beta) student; mse = the squared differences of the
    probabilities, summed: a mean over the support would shrink as top_k grows.
    """
    p, q = student.exp(), teacher.exp()
    if divergence == "mse":
        return (p - q).square().sum(1)
    if divergence == "forward_kl":
        return (q * (teacher - student)).sum(1)
    if divergence == "reverse_kl":
        return (p * (student - teacher)).sum(1)
    mixed = torch.logaddexp(student + log(1 - beta), teacher + log(beta))
    return (beta * q * (teacher - mixed) + (1 - beta) * p * (student - mixed)).sum(1)

"""How many tokens are run at once: as many as the memory of the machine holds, for a vocabulary of this size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sdsearch.policy.policy import Policy

MOST, LEAST = 16_384, 256
"""Tokens of a micro-batch; more are not faster, and fewer are slow."""
MANY, FEWEST = 1024, 8
"""Episodes that are played at once; more are not faster."""
SHARE = 0.25
"""The part of the memory that a micro-batch may take, of what is left once gradients and averages are there."""
LOGITS = 6
"""Numbers that are held for each logit while a loss is taken: the logits, their copy in float32, log-probabilities, and
the gradients of each. Measured with a vocabulary of 49,152."""
HIDDEN, INNER = 14, 5
"""Numbers that are held in each layer for one of its hidden and one of its inner units, for the backward pass."""
OPTIMISER = 3
"""Numbers that training adds to each weight: its gradient and the two averages of AdamW."""
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where Linux says what a container may take, and what it takes."""


def tokens_at_once(policy: Policy) -> int:
    """Return a bound for `train.tokens_per_batch`: a power of two, so that a little memory changes nothing."""
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    left = (free(policy.device) - OPTIMISER * weights) * SHARE
    fitting = int(max(left, 0) / bytes_per_token(policy))
    return max(LEAST, min(MOST, 1 << max(0, fitting.bit_length() - 1)))


def episodes_at_once(policy: Policy, context: int) -> int:
    """Return how many episodes of `context` tokens may be played at once: a power of two, for the same reason."""
    fitting = int(free(policy.device) * SHARE / (context * bytes_kept(policy)))
    return max(FEWEST, min(MANY, 1 << max(0, fitting.bit_length() - 1)))


def bytes_kept(policy: Policy) -> int:
    """Return about how many bytes a sampled context takes for each of its tokens: its keys and values, twice.

    They are copied where the cache grows or rows leave it.
    """
    config = policy.attention.config
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or policy.head.weight.shape[1] // heads
    kept = (getattr(config, "num_key_value_heads", None) or heads) * dim
    return int(2 * 2 * len(policy.attention.kinds) * kept * policy.head.weight.element_size())


def bytes_per_token(policy: Policy) -> int:
    """Return about how many bytes the backward pass needs for each token of a micro-batch."""
    config = policy.attention.config
    vocabulary, hidden = policy.head.weight.shape
    inner = getattr(config, "intermediate_size", None)
    inner = inner if isinstance(inner, int) else 4 * hidden
    return int(4 * (LOGITS * vocabulary + len(policy.attention.kinds) * (HIDDEN * hidden + INNER * inner)))


def free(device: torch.device) -> int:
    """Return the bytes that are left on a device; on the CPU what this process may still take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    left = [int(psutil.virtual_memory().available)]
    for most, used in LIMITS:
        try:
            left.append(int(Path(most).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return min(left)

"""First weights for a small Llama that can copy before it has learned anything: a ready-made induction circuit.

Reading is copying: a query repeats a name of the question, an answer repeats a value of a passage. Attention learns
this in two steps that are useless one without the other (Olsson et al. 2022, "In-context Learning and Induction
Heads"): a head that looks one token back, and one in the next layer that finds earlier places which followed the token
it stands on, and says what stood there. From random weights most of a warm start passes before both appear; here they
are put in place, roughly, and training does the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

BACK, MATCH, KEEP, COPY = 8.0, 2.2, 0.08, 0.3
"""Strength of looking back, of matching, of what a token keeps of the one before it, and of copying.

Chosen so that on a random sequence that is repeated, the first kind of head gives over 0.99 of its attention to the
token before and the second about a third to the right place: enough for gradients to find the rest."""
QUIET = 0.1
"""What is left of all other random writing to the residual stream, which would drown the circuit."""
STILL = 0.008
"""Rotary frequencies (radians per token) below this hardly turn within an episode: they carry what is matched."""


@torch.no_grad()
def induce(model: LlamaForCausalLM, heads: int) -> None:
    """Put an induction circuit of `heads` heads into the first two layers. The model must have attention biases."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    shared = config.num_attention_heads // int(config.num_key_value_heads or 1)
    half = size // 2
    turns = frequencies(config)
    still = [i for i, turn in enumerate(turns) if turn < STILL]
    first, second = (model.model.layers[i].self_attn for i in (0, 1))
    for layer in model.model.layers:
        layer.mlp.down_proj.weight *= QUIET
        layer.self_attn.o_proj.weight *= QUIET
    for head in range(heads):
        # Of the heads that share keys and values the first asks.
        asks, start = head * shared * size, head * size
        asking, rows = slice(asks, asks + size), slice(start, start + size)
        seen, kept, copied = (directions(config.hidden_size, size) for _ in range(3))
        # Looking back: query and key are the same constant, the key turned on by one token; so they meet at distance 1.
        for layer in (first, second):
            layer.q_proj.weight[asking] *= 2 * QUIET
            layer.k_proj.weight[rows] *= 2 * QUIET
        for i, turn in enumerate(turns[: half // 2]):
            first.q_proj.bias[asks + i] = BACK
            first.k_proj.bias[start + i] = BACK * math.cos(turn)
            first.k_proj.bias[start + i + half] = BACK * math.sin(turn)
        first.v_proj.weight[rows] = seen
        first.o_proj.weight[:, asking] = KEEP * kept.T
        # Matching: what this token is, against what an earlier place kept of the token before it.
        for i in (*still, *(i + half for i in still)):
            second.q_proj.weight[asks + i] = MATCH * seen[i]
            second.k_proj.weight[start + i] = MATCH * kept[i]
        second.v_proj.weight[rows] = copied
        second.o_proj.weight[:, asking] = COPY * copied.T


def frequencies(config: LlamaConfig) -> list[float]:
    """Return the rotary frequencies of a head in radians per token, the fastest first."""
    half = config.hidden_size // config.num_attention_heads // 2
    base = float(config.to_dict()["rope_parameters"]["rope_theta"])
    return [base ** (-i / half) for i in range(half)]


def directions(width: int, count: int) -> Tensor:
    """Return `count` random orthonormal directions, shape [count, width]."""
    orthonormal: Tensor = torch.linalg.qr(torch.randn(width, count))[0]
    return orthonormal.T

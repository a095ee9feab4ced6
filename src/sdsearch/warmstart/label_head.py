"""First weights for a head that knows of each token which label stands before it, and for copying by what it says.

Behind a hindsight block, what an attempt asked is to be copied if the attempt is marked right. A head of the first
layer that looks for the nearest label tells each token of a line how it is marked; the heads of the next layer that
copy (`induction.py`) then like tokens of lines that are marked right a little more. As for copying, a small model finds
each half useless without the other, and late; here both are put in place, roughly, and training does the rest.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from sdsearch.warmstart.induction import KEEP, QUIET, directions, frequencies

NEAR = (0.02, 0.1)
"""Rotary frequencies (radians per token) that fall off over the length of a line: they prefer the nearest label."""
BEND = 4.0
"""How much the nearest is preferred, and..."""
SEEK, SHOW = 4.0, 0.6
"""...how much a label to any other token: what the query asks for, and what the key of a label shows."""
FAVOUR, LEAN = 0.6, 1.6
"""How much the heads that copy prefer what is marked right: in the key of each token, and in their queries.

With these, two lines that go on differently after the same word get attention that differs by a factor of two to four:
enough for gradients to find the rest."""


@torch.no_grad()
def listen(model: LlamaForCausalLM, labels: tuple[int, int], heads: int) -> None:
    """Let the second head of the first layer look for labels, and `heads` heads of the second layer heed it.

    `labels`: the first token of the label that marks what is right, and of the other. The heads are those that
    `induce` has prepared; the second shares its keys and values with the first.
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    shared = config.num_attention_heads // int(config.num_key_value_heads or 1)
    half = size // 2
    first, second = (model.model.layers[i].self_attn for i in (0, 1))
    right, wrong = torch.nn.functional.normalize(model.model.embed_tokens.weight[list(labels)], dim=1)
    asking, rows = slice(size, 2 * size), slice(0, size)
    first.q_proj.weight[asking] *= 2 * QUIET
    # The slowest frequencies hold still: there a label is known by what it is.
    for i in (half - 1, half - 2, size - 1, size - 2):
        first.k_proj.weight[i] = SHOW * (right + wrong)
        first.q_proj.bias[size + i] = SEEK
    for i, turn in enumerate(frequencies(config)):
        if NEAR[0] < turn < NEAR[1]:
            first.q_proj.bias[size + i] = BEND
    seen = first.v_proj.weight[rows]
    marked = directions(config.hidden_size, size)
    first.o_proj.weight[:, asking] = KEEP * marked.T
    way = marked.T @ torch.nn.functional.normalize(seen @ (right - wrong), dim=0)
    for head in range(heads):
        asks, start = head * shared * size, head * size
        for i in (half - 3, half - 4):
            second.k_proj.weight[start + i] = FAVOUR * way
            second.q_proj.weight[asks + i] = 0
            second.q_proj.bias[asks + i] = LEAN

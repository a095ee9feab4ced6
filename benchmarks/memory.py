"""Peak memory of a training step with 150,000 words in the vocabulary: logits of the needed rows, or all of them.

Both arms take the same step through the trainer's own path (`StepLoss.loss` over `score`) on the same tokens; the
second computes the logits of every token before it picks the needed ones. Each figure comes from a process of its own:
how far the peak of its resident memory rose during the step, model and index being there before.

    python benchmarks/memory.py [--vocabulary 150000]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.teachers import score
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.policy.batching import pad
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import WEIGHTS, Policy

EPISODES, PROMPT = 8, 16
SIZES = ((512, 64), (1024, 64), (2048, 64), (2048, 256), (2048, 1024))
"""Tokens of the step, and how many of them the loss needs."""


class Everything(Policy):
    """Materialises the logits of all tokens."""

    def logits(
        self, prompts: Sequence[Sequence[int]], rest: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]
    ) -> Tensor:
        tokens, mask = pad([(*p, *r) for p, r in zip(prompts, rest, strict=True)], self.device)
        logits = self.project(self.hidden(tokens, mask, mask.cumsum(1) - 1))
        row = [i for i, p in enumerate(positions) for _ in p]
        column = [len(prompts[i]) - 1 + at for i, p in enumerate(positions) for at in p]
        return logits[row, column]


def episodes(tokens: int, rows: int, vocabulary: int) -> TokenTable:
    """Return a table of episodes of `tokens` in all, of which the last `rows`, shared out evenly, are credited."""
    length, needed = tokens // EPISODES - PROMPT, rows // EPISODES
    dice = np.random.default_rng(0)
    question = Question("q", "?", ("a",))
    prompt = Segment("prompt", "?", tuple(range(PROMPT)))
    made = []
    for _ in range(EPISODES):
        words = tuple(dice.integers(vocabulary, size=length).tolist())
        made.append(Segment("model", "", words, (-np.log(vocabulary),) * length, (Span.QUERY,) * length))
    group = Group(question, tuple(Trajectory(question, (prompt, m), (), "answered", 1.0) for m in made))
    credit = np.where(np.arange(length) < length - needed, np.nan, 1.0)
    return TokenTable.build([group], [credit] * EPISODES)


def measure(everything: bool, tokens: int, rows: int, vocabulary: int) -> float:
    """Take a step and return by how many MiB it raised the peak of this process, and the loss."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    config.tie_word_embeddings = True
    kind = Everything if everything else Policy
    policy = kind(LlamaForCausalLM(config), TokenizerCodec(AutoTokenizer.from_pretrained(WEIGHTS / "seed-policy")))
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-4)
    table = episodes(tokens, rows, vocabulary)
    step_loss = StepLoss.of(table, [ClippedPG()], 0, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss, figures = step_loss.loss(torch.arange(len(table)), lambda index: score(policy, table.at(index)))
    assert figures["clipped_pg/rows"] == rows
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Print the peaks of both arms at each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=int, default=150_000)
    parser.add_argument("--measure", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        everything, tokens, rows = options.measure
        print(measure(bool(everything), tokens, rows, options.vocabulary))
        return
    titles = ("tokens", "needed", "logits of the needed, MiB", "logits of all, MiB", "ratio")
    table = Table(*titles, title=f"Peak of a step, vocabulary {options.vocabulary:,}")
    for tokens, rows in SIZES:
        peaks = []
        for everything in (0, 1):
            command = [sys.executable, __file__, "--vocabulary", str(options.vocabulary)]
            command += ["--measure", str(everything), str(tokens), str(rows)]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        table.add_row(f"{tokens:,}", f"{rows:,}", *(f"{p:,.0f}" for p in peaks), f"{peaks[1] / peaks[0]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()

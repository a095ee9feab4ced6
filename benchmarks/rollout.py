"""Rollouts that keep the key-value cache across turns against rollouts that read the whole context again each turn.

Both arms play the same episodes in one process, in turns, with the same weights and sampling seeds; what comes out of
them is compared token for token. Passages are found by words (BM25): the search takes no part in the comparison.

    python benchmarks/rollout.py [--rounds 5] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sdsearch.agents.engines.transformers import TransformersSampler
from sdsearch.agents.policy import PolicySession
from sdsearch.contracts.engine import Completion, Prompt
from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.order import choose
from sdsearch.spec import load

SPEC = Path(__file__).parents[1] / "specs" / "grpo.yaml"
SEARCH = ["environment.retriever={type: bm25, corpus: atlas}"]


class Forgetful(TransformersSampler):
    """Forgets its cache after every turn, and reads each context again."""

    def sample(self, prompts: Sequence[Prompt], stops: Sequence[str]) -> list[Completion]:
        self.reset(self.greedy)
        return super().sample(prompts, stops)


class Counting(Policy):
    """Counts the places that the decoder works on, padding included."""

    places = 0

    def hidden(self, tokens: torch.Tensor, *others: object) -> torch.Tensor:
        self.places += tokens.numel()
        return super().hidden(tokens, *others)  # type: ignore[arg-type]


def sampled(groups: Sequence[Group]) -> list[tuple[int, ...]]:
    """Return the tokens of every episode."""
    return [t.tokens for g in groups for t in g.trajectories]


def main() -> None:
    """Print time and decoded tokens of both arms, and their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    spec = load(SPEC, [*SEARCH, *options.set])
    loaded = Policy.load(spec.model, spec.sampling.temperature)
    policy = Counting(loaded.model, loaded.codec, loaded.temperature)
    grammar, env_factory, questions = spec.environment.grammar, spec.environment.open(), spec.questions("train")
    model = language_model(spec.model, spec.sampling, policy)
    arms = {
        "cache kept": PolicySession(grammar, model),
        "read again": PolicySession(grammar, model._replace(sampler=Forgetful(policy))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    places = dict.fromkeys(arms, 0)
    same = total = 0
    for turn in range(options.rounds + 1):
        asked = choose(questions, turn, spec.train.questions, spec.seed)
        played = {}
        for name in list(arms)[:: 1 if turn % 2 else -1]:
            clock, before = Clock(), policy.places
            played[name] = sampled(collect(env_factory, arms[name], asked, spec.train.group, turn, clock=clock))
            if turn:
                seconds[name].append(clock.seconds["generate"])
                places[name] += policy.places - before
        kept, again = played.values()
        same, total = same + sum(a == b for a, b in zip(kept, again, strict=True)), total + len(kept)
    table = Table(
        "",
        "generate, s",
        "tokens decoded",
        title=f"{spec.train.questions} x {spec.train.group}, {options.rounds} rounds",
    )
    for name in arms:
        table.add_row(name, f"{statistics.median(seconds[name]):.2f}", f"{places[name] / options.rounds:,.0f}")
    Console().print(table)
    ratios = sorted(b / a for a, b in zip(*seconds.values(), strict=True))
    print(f"{same} of {total} episodes are the same token for token; {torch.get_num_threads()} threads")
    print(f"reading again: {places['read again'] / places['cache kept']:.2f} times the tokens, ", end="")
    print(f"{statistics.median(ratios):.2f} times the time ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()

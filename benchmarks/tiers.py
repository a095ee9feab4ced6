"""How hard is a tier for the policy that has not been trained? Its success, its contrast, and the time to play a step.

Each tier is a spec, or `specs/grpo.yaml` with changes. Its first questions are played as GRPO would, so many at a time
and so many attempts at each, sampled at the tier's temperature, and nothing is learned. That is all that a tier is
chosen by: no other method is run.

    python benchmarks/tiers.py [SPEC ...] [--tier 'NAME: KEY=VALUE; KEY=VALUE'] [--questions 200] [--split train]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from random import Random

import torch

from sdsearch.core.trajectory import Group
from sdsearch.core.usage import Clock
from sdsearch.rollout.collect import collect
from sdsearch.rollout.session import open_session
from sdsearch.spec import Experiment, load

SPECS = Path(__file__).parents[1] / "specs"
COLUMNS = ("exact match", "best of a group", "mixed groups", "gold recall", "searches", "tokens", "longest", "cut off")
RESAMPLES = 2000


def tier(text: str) -> tuple[str, Experiment]:
    """Read 'NAME: KEY=VALUE; KEY=VALUE', changes to the plain GRPO spec."""
    name, _, changes = text.partition(":")
    return name, load(SPECS / "grpo.yaml", [c.strip() for c in changes.split(";") if c.strip()])


def played(spec: Experiment, questions: int, split: str) -> tuple[list[Group], list[float]]:
    """Play the first questions in steps like those of training; return their groups and each step's seconds."""
    asked = spec.questions("train" if split == "train" else "test")[:questions]
    session, env_factory = open_session(spec), spec.environment.open()
    groups: list[Group] = []
    seconds = []
    for start in range(0, len(asked), spec.train.questions):
        clock = Clock()
        some = asked[start : start + spec.train.questions]
        groups += collect(env_factory, session, some, spec.train.group, spec.seed + start, clock=clock)
        seconds.append(sum(clock.seconds.values()))
    return groups, seconds


def figures(groups: list[Group]) -> list[float]:
    """Return the columns of a tier; "cut off": episodes that ran out of turns or of context."""
    episodes = [t for g in groups for t in g.kept]
    hits = [[t.metrics["exact_match"] for t in g.kept] for g in groups]
    return [
        statistics.fmean(h for group in hits for h in group),
        statistics.fmean(max(group) for group in hits),
        statistics.fmean(len(set(group)) > 1 for group in hits),
        statistics.fmean(t.metrics["gold_recall"] for t in episodes),
        statistics.fmean(t.metrics["searches"] for t in episodes),
        statistics.fmean(len(t.tokens) for t in episodes),
        max(len(t.tokens) for t in episodes),
        statistics.fmean(t.stop_reason in ("max_turns", "context_full") for t in episodes),
    ]


def interval(groups: list[Group]) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of exact match; questions are drawn, with all their attempts."""
    means = [statistics.fmean(t.metrics["exact_match"] for t in g.kept) for g in groups]
    dice = Random(0)
    drawn = sorted(statistics.fmean(dice.choices(means, k=len(means))) for _ in range(RESAMPLES))
    return drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40]


def main() -> None:
    """Print a Markdown table, a row per tier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", type=Path)
    parser.add_argument("--tier", action="append", default=[])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--split", choices=("test", "train"), default="test")
    options = parser.parse_args()
    tiers = [(path.stem, load(path)) for path in options.specs] + [tier(text) for text in options.tier]
    print(f"{options.questions} questions of data.{options.split}, {torch.get_num_threads()} threads\n")
    print("| tier | " + " | ".join([COLUMNS[0], "95 %", *COLUMNS[1:], "seconds a step"]) + " |")
    print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    for name, spec in tiers:
        groups, seconds = played(spec, options.questions, options.split)
        exact, *others = (f"{value:.0f}" if value > 20 else f"{value:.3f}" for value in figures(groups))
        low, high = interval(groups)
        cells = [exact, f"{low:.2f} to {high:.2f}", *others, f"{statistics.median(seconds):.2f}"]
        print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

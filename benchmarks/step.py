"""A whole SD-Search step against the same step with plain GRPO: rollouts, retrieval, credit, update.

Both arms run in one process, in turns, from the same weights (the learning rate is zero) with the same questions and
sampling seeds, so they play the same episodes. Each round is played
once before, so that both find their queries in the cache; the first round is left out.

    python benchmarks/step.py [--rounds 8] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.order import choose
from sdsearch.spec import load

SPECS = Path(__file__).parents[1] / "specs"
ARMS = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}


def main() -> None:
    """Print the time of each part for both arms, and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    # A rate that moves nothing: both arms play with the same weights in every round.
    still = ["train.learning_rate=1e-30", *options.set]
    arms = {name: load(SPECS / file, still) for name, file in ARMS.items()}
    first = arms["GRPO"]
    env_factory, questions = first.environment.open(), first.questions("train")
    processes = Processes(Accelerator())
    policy = Policy.load(first.model, first.sampling.temperature)
    learners = {name: Learner(arm, processes, policy=policy) for name, arm in arms.items()}
    session = first.agent.open(first.environment.grammar, language_model(first.model, first.sampling, policy))
    times: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for turn in range(options.rounds + 1):
        # Play it once unmeasured: else the arm that goes first would pay for queries that the other finds in the cache.
        collect(
            env_factory, session, choose(questions, turn, first.train.questions, first.seed), first.train.group, turn
        )
        for name, arm in list(arms.items())[:: 1 if turn % 2 else -1]:
            clock, since = Clock(), time.perf_counter()
            asked = choose(questions, turn, arm.train.questions, arm.seed)
            groups = collect(env_factory, session, asked, arm.train.group, turn, clock=clock)
            stage = arm.stage(0)
            learners[name].learn(groups, step_advantages(stage.objective.credit, groups), stage, 10_001, clock)
            times[name].append({**clock.seconds, "whole step": time.perf_counter() - since})
    parts = ("generate", "retrieve", "score", "train", "whole step")
    print(
        f"{first.train.questions} x {first.train.group} episodes, {torch.get_num_threads()} threads, medians in seconds"
    )
    for name, rounds in times.items():
        print(f"{name:10}", *(f"{p} {statistics.median(r.get(p, 0.0) for r in rounds[1:]):.2f}  " for p in parts))
    pairs = zip(times["SD-Search"][1:], times["GRPO"][1:], strict=True)
    ratios = sorted(sd["whole step"] / grpo["whole step"] for sd, grpo in pairs)
    print(f"SD-Search takes {statistics.median(ratios):.3f} times as long ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()

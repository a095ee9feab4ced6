"""The training part of a GRPO step, ours against TRL's GRPOTrainer, on the same tokens and the same model.

64 trajectories (8 questions x 8) of about 160 tokens, two turns of the model between observations, a Llama of 2 million
parameters, on the CPU with float32. TRL gets the same prompts, completions, log-probabilities and mask through its
`rollout_func`; what it spends in there is taken off. Both take five steps; the first is left out.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/against_trl.py
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.policy.policy import Policy
from sdsearch.spec import load
from sdsearch.warmstart.command import build
from sdsearch.warmstart.spec import Shape

QUESTIONS, GROUP, STEPS = 8, 8, 6
PROMPT, ACTION, READ = 32, 24, 80
SPEC = Path(__file__).parents[1] / "specs" / "grpo.yaml"


def policy() -> Policy:
    """Return a fresh model; the same weights each time."""
    torch.manual_seed(0)
    return build(Shape(), [f"Question: which city does Airport {i} serve?" for i in range(500)])


def groups(model: Policy) -> list[Group]:
    """Return 64 trajectories: prompt, search, observation, answer; rewards are mixed in each group."""
    dice = random.Random(0)
    size = 2000

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(dice.randrange(300, size) for _ in range(max(2, round(dice.gauss(count, count / 8)))))

    def action() -> Segment:
        ids = tokens(ACTION)
        return Segment("model", "", ids, (-7.0,) * len(ids), (Span.QUERY,) * len(ids))

    batch = []
    for i in range(QUESTIONS):
        question = Question(str(i), f"question {i}", ("a",))
        prompt = Segment("prompt", "", tokens(PROMPT))
        episodes = []
        for j in range(GROUP):
            segments = (prompt, action(), Segment("observation", "", tokens(READ)), action())
            turns = (Turn("search", "q"), Turn("answer", "a"))
            episodes.append(Trajectory(question, segments, turns, "answered", float(j % 3 == 0)))
        batch.append(Group(question, tuple(episodes)))
    return batch


def ours() -> list[float]:
    """Return the seconds of each update."""
    model = policy()
    played = groups(model)
    spec = load(SPEC, ["train={tokens_per_batch: 1048576, learning_rate: 1.0e-6, warmup_steps: 0}"])
    learner, stage, times = Learner(spec, Processes(Accelerator(cpu=True)), policy=model), spec.stage(0), []
    for step in range(STEPS):
        since = time.perf_counter()
        learner.learn(played, step_advantages(stage.objective.credit, played), stage, step, Clock())
        times.append(time.perf_counter() - since)
    return times


def theirs() -> list[float]:
    """Return the seconds of each TRL step, less those spent in the rollout function."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model = policy()
    played = groups(model)
    times: list[float] = []
    spent = 0.0

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        nonlocal spent
        since = time.perf_counter()
        kept = [t for g in played for t in g.trajectories]
        rest = [t.segments[1:] for t in kept]
        out = {
            "prompt_ids": [list(t.segments[0].tokens) for t in kept],
            "completion_ids": [[i for s in r for i in s.tokens] for r in rest],
            "logprobs": [[-7.0 for s in r for _ in s.tokens] for r in rest],
            "env_mask": [[int(s.role == "model") for s in r for _ in s.tokens] for r in rest],
            "score": [t.reward for t in kept],
        }
        spent += time.perf_counter() - since
        return out

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            spent, since = 0.0, time.perf_counter()
            loss = super().training_step(*args, **kwargs)
            times.append(time.perf_counter() - since - spent)
            return loss

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=QUESTIONS * GROUP, num_generations=GROUP, max_steps=STEPS,
            max_completion_length=512, learning_rate=1e-6, beta=0.0, loss_type="dapo", report_to=[], use_cpu=True,
            logging_strategy="no", save_strategy="no", disable_tqdm=True, bf16=False, gradient_checkpointing=False,
        )  # fmt: skip
        Timed(
            model=model.model,
            processing_class=model.codec.tokenizer,
            reward_funcs=lambda completions, score, **_: score,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": str(i)} for i in range(QUESTIONS * GROUP * STEPS)]),
            rollout_func=rollout,
        ).train()
    return times


def main() -> None:
    """Print both and their ratio."""
    mine, trl = ours()[1:], theirs()[1:]
    tokens = sum(len(t.tokens) for g in groups(policy()) for t in g.trajectories)
    print(f"64 trajectories, {tokens / 64:.0f} tokens on average, {torch.get_num_threads()} threads")
    for name, times in (("sdsearch", mine), ("TRL 1.16", trl)):
        print(f"{name:9} median {statistics.median(times):.2f} s   ({', '.join(f'{t:.2f}' for t in times)})")
    print(f"TRL takes {statistics.median(trl) / statistics.median(mine):.1f} times as long")


if __name__ == "__main__":
    main()

"""Two checkouts of this project in turns: is a step as fast as it was?

Each checkout has a process of its own, and they take turns on the same machine: one waits while the other works. Both
learn from the same stored groups with the same weights (the learning rate moves nothing), once as GRPO and once as
SD-Search; and both play the same questions. Retrieval is cached by a first, unmeasured round.

    python benchmarks/editions.py OLD_CHECKOUT GROUPS [--pairs 20]

GROUPS is a file of recorded groups, such as runs/grpo/0/trajectories/step_1.jsonl. The other checkout is one in which
weights still belonged to the agent (up to 92e598d).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]
ARMS = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}

NEW = """
import sys, time
from pathlib import Path
import torch
from accelerate import Accelerator
from sdsearch.core.trajectory import read_groups
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.policy.policy import language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.order import choose
from sdsearch.spec import load

root, stored = Path(sys.argv[1]), list(read_groups(Path(sys.argv[2])))
files = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}
arms = {name: load(root / "specs" / file, ["train.learning_rate=1e-30"]) for name, file in files.items()}
first = arms["GRPO"]
processes = Processes(Accelerator())
learners = {"GRPO": Learner(first, processes)}
learners["SD-Search"] = Learner(arms["SD-Search"], processes, policy=learners["GRPO"].policy)
env_factory = first.environment.open()
model = language_model(first.model, first.sampling, learners["GRPO"].policy)
session = first.agent.open(first.environment.grammar, model)
questions = first.data.train.questions()

def learn(arm, groups):
    spec = arms[arm]
    stage = spec.stage(0)
    learners[arm].learn(groups, step_advantages(stage.objective.credit, groups), stage, 10_001, Clock())

def play(number):
    return collect(env_factory, session, choose(questions, number, first.train.questions, 0), first.train.group, number)
"""
OLD = """
import sys, time
from pathlib import Path
import torch
from accelerate import Accelerator
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import read_groups
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import Teachers
from sdsearch.learning.update import update
from sdsearch.rollout.collect import collect
from sdsearch.rollout.environment import SearchEnvFactory
from sdsearch.rollout.order import choose
from sdsearch.spec import load

root, stored = Path(sys.argv[1]), list(read_groups(Path(sys.argv[2])))
files = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}
arms = {name: load(root / "specs" / file) for name, file in files.items()}
first = arms["GRPO"]
processes = Processes(Accelerator())
session = first.agent.open(first.environment.protocol)
teachers = Teachers(session.policy, set(), 0.0)
optimizer = torch.optim.AdamW(session.policy.model.parameters(), lr=1e-30, weight_decay=0.0)
env_factory = SearchEnvFactory(first.environment)
questions = first.data.train.questions()

def learn(arm, groups):
    spec = arms[arm]
    table = TokenTable.build(groups, step_advantages(spec.objective.credit, groups).values)
    update(spec, processes, teachers, optimizer, table, 10_000, Clock())

def play(number):
    return collect(env_factory, session, choose(questions, number, first.train.questions, 0), first.train.group, number)
"""
SERVE = """
print("ready", flush=True)
for line in sys.stdin:
    what, arm, number = line.split()
    since = time.perf_counter()
    if what == "learn":
        learn(arm, stored)
        tokens = sum(t.sampled for g in stored for t in g.kept)
    else:
        tokens = sum(t.sampled for g in play(int(number)) for t in g.kept)
    print(time.perf_counter() - since, tokens, flush=True)
"""


class Worker:
    """A process of a checkout that does what it is told and says how long that took."""

    def __init__(self, root: Path, code: str, groups: Path) -> None:
        path = Path(os.environ.get("TMPDIR", "/tmp")) / f"edition_{os.getpid()}_{'old' if code is OLD else 'new'}.py"
        path.write_text(code + SERVE)
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        command = [sys.executable, str(path), str(root), str(groups)]
        self.process = subprocess.Popen(
            command, cwd=HERE, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while self.read() != ["ready"]:
            pass

    def read(self) -> list[str]:
        """Return the words of the next line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        return line.split()

    def ask(self, *words: object) -> tuple[float, float]:
        """Return the seconds and the sampled tokens of a piece of work."""
        assert self.process.stdin
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        seconds, tokens = self.read()
        return float(seconds), float(tokens)


def main() -> None:
    """Print the ratios, new to old."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("groups", type=Path)
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()
    workers = {
        "old": Worker(options.old.resolve(), OLD, options.groups.resolve()),
        "new": Worker(HERE, NEW, options.groups.resolve()),
    }
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(options.pairs + 1):
        for name in list(workers)[:: 1 if number % 2 else -1]:
            for arm in ARMS:
                times.setdefault((name, arm), []).append(workers[name].ask("learn", arm, number)[0])
            workers[name].ask("play", "GRPO", number)  # finds its queries in the cache next time
            seconds, tokens = workers[name].ask("play", "GRPO", number)
            times.setdefault((name, "play, per token"), []).append(seconds / tokens)
    for what in (*ARMS, "play, per token"):
        pairs = list(zip(times["new", what][1:], times["old", what][1:], strict=True))
        ratios = sorted(new / old for new, old in pairs)
        old, new = (statistics.median(times[name, what][1:]) for name in ("old", "new"))
        print(
            f"{what:16} old {old:.4f} s, new {new:.4f} s, new/old {statistics.median(ratios):.3f}"
            f" ({ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}, {len(ratios)} pairs)"
        )
    for name in workers:
        each = zip(times[name, "SD-Search"][1:], times[name, "GRPO"][1:], strict=True)
        print(f"SD-Search / GRPO, learning, {name}: {statistics.median(sd / grpo for sd, grpo in each):.3f}")


if __name__ == "__main__":
    main()

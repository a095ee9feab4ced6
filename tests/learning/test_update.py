"""One update: micro-batches within a budget, groups kept together, and processes that add up to one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from sdsearch.core.tokens import TokenTable
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.update import over
from sdsearch.policy.batching import table_batches
from sdsearch.spec import Objective
from sdsearch.testing import example_groups

OBJECTIVE = {"credit": [{"type": "leave_one_out"}], "terms": [{"type": "clipped_pg"}]}

WORKER = """
import sys, torch
from accelerate import Accelerator
from pathlib import Path
from sdsearch.agents.local import Local
from sdsearch.policy.policy import Policy
from sdsearch.core.tokens import TokenTable
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import Teachers
from sdsearch.spec import load
from sdsearch.testing import example_groups
from sdsearch.learning.update import update

folder, out = Path(sys.argv[1]), sys.argv[2]
experiment = load(folder / "small.yaml", ["objective={credit: [leave_one_out], terms: [clipped_pg, entropy]}"])
processes = Processes(Accelerator(cpu=True))
groups = processes.share(example_groups()[:3])
table = TokenTable.build(groups, step_advantages(experiment.objective.credit, groups).values)
policy = Policy.load(experiment.agent)
teachers = Teachers(policy, set(), 0.0)
optimizer = torch.optim.SGD(policy.model.parameters(), lr=1.0)
figures = update(experiment, processes, teachers, optimizer, table, 0, Clock(), True)
if processes.main:
    torch.save({"weights": policy.model.state_dict(), "figures": figures}, out)
if processes.count > 1:
    torch.distributed.destroy_process_group()
"""


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_batches_hold_each_needed_row_once_and_keep_to_the_budget() -> None:
    objective = Objective.model_validate(OBJECTIVE)
    groups = example_groups()
    table = TokenTable.build(groups, step_advantages(objective.credit, groups).values)
    step_loss = StepLoss.of(table, objective.terms, 0, 0)
    for budget in (1, 20, 40, 10_000):
        parts = table_batches(table, step_loss.needed, budget)
        rows = torch.cat(parts)
        assert sorted(rows.tolist()) == step_loss.needed.nonzero()[:, 0].tolist()
        for part in parts:
            lengths = [p[-1] + 1 for p in table.at(part).positions().values()]
            assert len(lengths) == 1 or len(lengths) * max(lengths) <= budget


def test_two_processes_take_the_step_of_one(spec: Path, tmp_path: Path) -> None:
    def run(world: int) -> dict[str, dict[str, torch.Tensor]]:
        out = tmp_path / f"{world}.pt"
        common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        common |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        command = [sys.executable, "-c", WORKER, str(spec.parent), str(out)]
        if world == 1:
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
        else:
            ranks = [{"RANK": str(r), "LOCAL_RANK": str(r), "LOCAL_WORLD_SIZE": str(world)} for r in range(world)]
            processes = [subprocess.Popen(command, env=common | rank) for rank in ranks]
            assert [p.wait(120) for p in processes] == [0] * world
        found: dict[str, dict[str, torch.Tensor]] = torch.load(out, weights_only=True)
        return found

    one, two = run(1), run(2)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-5, rtol=1e-4)
    assert two["figures"]["clipped_pg/rows"] == one["figures"]["clipped_pg/rows"] > 0
    assert one["figures"].keys() == two["figures"].keys() >= {"grad_norm/clipped_pg", "grad_norm/entropy", "drift_max"}
    for name, figure in one["figures"].items():
        torch.testing.assert_close(two["figures"][name], figure, rtol=1e-4, atol=1e-6)


def test_several_updates_of_a_step() -> None:
    first = {"loss": 3.0, "drift_mean": 0.0, "drift_max": 0.1, "effective_share": 1.0, "grad_norm/kl": 7.0}
    last = {"loss": 1.0, "drift_mean": 0.4, "drift_max": 0.9, "effective_share": 0.6}
    assert over([first, {**last, "loss": 5.0}, last]) == {
        "loss": 3.0,
        "drift_mean": 0.0,
        "drift_max": 0.1,
        "effective_share": 1.0,
        "grad_norm/kl": 7.0,
        "drift_mean_last": 0.4,
        "drift_max_last": 0.9,
        "effective_share_last": 0.6,
    }
    assert over([{"loss": 2.0}]) == {"loss": 2.0}

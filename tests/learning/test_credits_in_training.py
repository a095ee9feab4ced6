"""Credits that ask the probe, and rollouts that branch, in a real step of training with a tiny policy."""

from pathlib import Path

import numpy as np
import pytest

from sdsearch.core.trajectory import read_groups
from sdsearch.learning.train import train
from sdsearch.spec import load

STEP = ["train.steps=1", "train.evaluate_every=0", "train.checkpoint_every=0", "environment.max_turns=3"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("credit", "rollouts"),
    [
        ("{type: hcapo}", "independent"),
        ("{type: hcapo, hint: peer_success}", "independent"),
        ("{type: vine, k: 2}", "independent"),
        ("{type: turnsight, base: {type: vine, k: 1}}", "independent"),
        ("{type: modulate, of: {type: constant}, decay_steps: 3}", "independent"),
        ("{type: modulate, form: rlcsd, against: question, of: gigpo}", "independent"),
        ("{type: modulate, form: agent_opsd, by: turn, against: flipped, teacher: ema}", "independent"),
        ("{type: igpo}", "independent"),
        ("{type: tips}", "independent"),
        ("{type: tips, teacher: live, settle: true}", "independent"),
        ("{type: mt_grpo}", "independent"),
        ("{type: gigpo}", "independent"),
        ("{type: tree_group}", "{type: tree, trees: 1}"),
        ("{type: group_mean}", "{type: entropy_branching, initial: 1, base: 1}"),
        ("{type: carl}", "{type: critical, initial: 1}"),
    ],
)
def test_a_step(spec: Path, credit: str, rollouts: str) -> None:
    settings = [
        f"objective.credit=[{credit}, {{type: small_parts.by_token}}]",
        "objective.terms=[{type: clipped_pg}]",
        f"train.rollouts={rollouts}",
    ]
    run = train(load(spec, [*STEP, *settings]))
    (line,) = (m for m in run.metrics() if "train" in m)
    assert np.isfinite(line["train"]["loss"])
    path = run.folder / "trajectories" / "step_1.jsonl"
    groups = list(read_groups(path))
    assert [len(g.trajectories) for g in groups] == [3, 3]
    branched = [t.branch for g in groups for t in g.trajectories if t.branch]
    assert bool(branched) == (rollouts.startswith(("{type: tree", "{type: critical")))
    states = sum(1 + sum(max(0, len(t.actions) - 1) for t in g.trajectories) for g in groups)
    extra = {"vine, k: 2": 2, "vine, k: 1": 1}
    assert line["spent"]["rollouts"] == 6 + states * next((k for name, k in extra.items() if name in credit), 0)
